//! The operating system's name for an error, as C's `strerror` gives it: log lines and replies of Redis contain it.

use std::io;

/// `error` without the ` (os error N)` that Rust appends.
pub fn text(error: &io::Error) -> String {
    let text = error.to_string();
    match error.raw_os_error() {
        Some(number) => text.trim_end_matches(&format!(" (os error {number})")).to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_left_out() {
        assert_eq!(text(&io::Error::from_raw_os_error(2)), "No such file or directory");
        assert_eq!(text(&io::Error::other("odd")), "odd");
    }
}
