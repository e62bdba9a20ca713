//! `docs/config.md`, written from the table.

use std::fmt::Write as _;

use super::{Config, REDIS_VERSION, table};

const HEAD: &str = "# Configuration of codis-server

Generated from the table of directives; do not edit. A file has one directive a line; the command line has the same
directives as options (`codis-server redis.conf --port 7000 --save 900 1`). *Run time* says whether CONFIG SET changes it;
*only* is a setting that no file has. A directive in parentheses is what newer versions of Redis call it; both names are taken.

What a directive is about may not be there yet: `CHANGELOG.md` lists the parts that are missing. Their directives are read,
checked, shown by CONFIG GET and written back by CONFIG REWRITE, and do nothing else.

";

/// The text of `docs/config.md`.
pub fn document() -> String {
    let default = Config::default();
    let mut rows: Vec<_> = table::TABLE.iter().collect();
    rows.sort_by_key(|row| row.name);
    let mut text = format!(
        "{HEAD}Every directive of Redis {REDIS_VERSION} is taken. Numbers that do not parse are refused, where Redis {REDIS_VERSION} \
         reads as much as it understands.\n\n| directive | value | default | run time | what it does |\n|---|---|---|---|---|\n"
    );
    for row in rows {
        let alias = row.alias.map(|alias| format!(" (`{alias}`)")).unwrap_or_default();
        let value = String::from_utf8_lossy(&row.value(&default)).into_owned();
        let value = if value.is_empty() { String::new() } else { format!("`{value}`") };
        let run_time = match (row.settable, row.in_file) {
            (true, true) => "yes",
            (true, false) => "only",
            (false, _) => "no",
        };
        let about = match row.accepted_only {
            Some(why) => format!("accepted only: {why}"),
            None => row.about.to_owned(),
        };
        let cells = [format!("`{}`{alias}", row.name), row.shape(), value, run_time.into(), about];
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Run the test with `UPDATE_DOCS` set to write the file anew.
    #[test]
    fn the_document_is_up_to_date() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/config.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs")).unwrap();
            std::fs::write(file, document()).unwrap();
        }
        let written = std::fs::read_to_string(file).unwrap_or_default();
        assert_eq!(written, document(), "stale: run `UPDATE_DOCS=1 cargo test -p server document`");
    }
}
