//! An empty server: how soon it answers, and what it weighs.

use serde::Serialize;

use super::Plan;
use super::error::Result;
use super::server::{Program, Server};
use super::stats::{lowest, median, ratio};
use super::table::{Table, figure, ratio_cell};

/// One server's starts.
#[derive(Debug, Serialize)]
pub struct Row {
    server: String,
    ready_ms: Vec<f64>,
    used_bytes: u64,
    resident_bytes: u64,
}

/// Starts every server several times, in turns.
pub fn measure(plan: &Plan) -> Result<Vec<Row>> {
    let empty = |program: &Program| Row {
        server: program.name.clone(),
        ready_ms: Vec::new(),
        used_bytes: 0,
        resident_bytes: 0,
    };
    let mut rows: Vec<Row> = plan.programs.iter().map(empty).collect();
    for _ in 0..plan.repeats {
        for (program, row) in plan.programs.iter().zip(&mut rows) {
            let mut server = Server::start(program)?;
            row.ready_ms.push(server.started_in.as_secs_f64() * 1000.0);
            row.used_bytes = server.used_memory_settled()?;
            row.resident_bytes = server.resident_bytes()?;
        }
    }
    Ok(rows)
}

/// The rows as a table, ours first.
pub fn table(rows: &[Row]) -> String {
    let mut table = Table::new(1, &["server", "ready ms", "best", "used KiB", "RSS KiB", "| ours/it:", "ready", "RSS"]);
    let ready = |row: &Row| median(&row.ready_ms).unwrap_or(0.0);
    for (nth, row) in rows.iter().enumerate() {
        let mut cells = vec![
            row.server.clone(),
            figure(ready(row)),
            figure(lowest(&row.ready_ms).unwrap_or(0.0)),
            (row.used_bytes / 1024).to_string(),
            (row.resident_bytes / 1024).to_string(),
            "|".into(),
        ];
        if let (Some(ours), true) = (rows.first(), nth > 0) {
            cells.push(ratio_cell(ratio(ready(ours), ready(row))));
            cells.push(ratio_cell(ratio(ours.resident_bytes as f64, row.resident_bytes as f64)));
        }
        table.row(cells);
    }
    table.text()
}
