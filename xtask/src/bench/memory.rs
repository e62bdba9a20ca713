//! Memory a key: what `used_memory` and the resident size grow by, per data set.
//!
//! Each figure comes from a server of its own, so that no data set profits from the holes another has left.

use serde::Serialize;

use super::Plan;
use super::data::{DATA_SETS, DataSet};
use super::error::{Error, Result};
use super::server::{Program, Server};
use super::stats::ratio;
use super::table::{Table, ratio_cell};

/// One server on one data set.
#[derive(Debug, Serialize)]
pub struct Row {
    data: &'static str,
    keys: u64,
    elements: usize,
    server: String,
    used_bytes_per_key: f64,
    resident_bytes_per_key: f64,
}

/// Measures every data set.
pub fn measure(plan: &Plan) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for data in DATA_SETS {
        let data = DataSet { keys: (data.keys / plan.data_divisor).max(1), ..*data };
        let first = rows.len();
        for program in &plan.programs {
            rows.push(fill(program, &data)?);
        }
        eprint!("{}", table(&rows[first..]));
    }
    Ok(rows)
}

fn fill(program: &Program, data: &DataSet) -> Result<Row> {
    let mut server = Server::start(program)?;
    let used_before = server.used_memory_settled()?;
    let resident_before = server.resident_bytes()?;
    // Over a connection that is closed again: its buffers are not the data's.
    data.load(&mut super::wire::Client::connect(server.addr)?)?;
    let keys = server.client.ask(&["DBSIZE"])?;
    if keys != data.keys.to_string() {
        return Err(Error::Reply(format!("{}: DBSIZE is {keys} after {} keys", program.name, data.keys)));
    }
    let used = server.used_memory_settled()?.saturating_sub(used_before);
    let resident = server.resident_bytes()?.saturating_sub(resident_before);
    Ok(Row {
        data: data.name,
        keys: data.keys,
        elements: data.elements,
        server: program.name.clone(),
        used_bytes_per_key: used as f64 / data.keys as f64,
        resident_bytes_per_key: resident as f64 / data.keys as f64,
    })
}

/// The rows as a table; rows of one data set stand together, ours first.
pub fn table(rows: &[Row]) -> String {
    let mut table = Table::new(3, &["data", "keys", "server", "used B/key", "RSS B/key", "| ours/it:", "used", "RSS"]);
    for group in rows.chunk_by(|a, b| a.data == b.data) {
        let Some(ours) = group.first() else { continue };
        for (nth, row) in group.iter().enumerate() {
            let mut cells = vec![
                row.data.into(),
                row.keys.to_string(),
                row.server.clone(),
                format!("{:.1}", row.used_bytes_per_key),
                format!("{:.1}", row.resident_bytes_per_key),
                "|".into(),
            ];
            if nth > 0 {
                cells.push(ratio_cell(ratio(ours.used_bytes_per_key, row.used_bytes_per_key)));
                cells.push(ratio_cell(ratio(ours.resident_bytes_per_key, row.resident_bytes_per_key)));
            }
            table.row(cells);
        }
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_stand_in_the_peers_rows() {
        let row = |server: &str, used| Row {
            data: "str",
            keys: 10,
            elements: 1,
            server: server.into(),
            used_bytes_per_key: used,
            resident_bytes_per_key: 2.0 * used,
        };
        let text = table(&[row("ours", 75.0), row("peer", 150.0)]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].ends_with('|') && lines[2].ends_with("0.50  0.50"), "{text}");
    }
}
