//! Aligned text tables.

/// Rows of cells; the first columns are names and stand left, figures stand right.
pub struct Table {
    names: usize,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table whose first `names` columns are names.
    pub fn new(names: usize, header: &[&str]) -> Self {
        Self { names, rows: vec![header.iter().map(|&cell| cell.to_owned()).collect()] }
    }

    /// Adds a row; it may be shorter than the header.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The table as lines, each with its line end.
    pub fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
                if column < self.names { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            });
            text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
            text.push('\n');
        }
        text
    }
}

/// A figure with about three significant digits.
pub fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A ratio, or a dash where there is none.
pub fn ratio_cell(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "-".into(), |ratio| format!("{ratio:.2}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_left_and_figures_right() {
        let mut table = Table::new(1, &["test", "us"]);
        table.row(vec!["GET".into(), "12.5".into()]);
        table.row(vec!["LRANGE".into()]);
        assert_eq!(table.text(), "test      us\nGET     12.5\nLRANGE\n");
    }

    #[test]
    fn figures_keep_three_digits() {
        assert_eq!([figure(1234.5), figure(12.34), figure(1.234), figure(0.0)], ["1234", "12.3", "1.23", "0.00"]);
        assert_eq!((ratio_cell(Some(0.254)), ratio_cell(None)), ("0.25".into(), "-".into()));
    }
}
