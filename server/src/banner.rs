//! The start banner. Supervising scripts read the process id out of it, so it is printed also without a terminal.

use crate::config::{Config, REDIS_VERSION};
use crate::log::{self, Level};

/// Logs the banner; to the system log only a line of the same content.
pub fn log(config: &Config) {
    let pid = std::process::id();
    if config.syslog_enabled {
        log::notice!(
            "Redis {REDIS_VERSION} (00000000/0) {} bit, standalone mode, port {}, pid {pid} ready to start.",
            usize::BITS,
            config.port
        );
    } else {
        log::raw(Level::Notice, &text(config.port, pid));
    }
}

fn text(port: u16, pid: u32) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let bits = usize::BITS;
    format!(
        r"
        .--.  .--.  .--.
       ( 00 )( 01 )( 02 )        codis-server {version}
     .--'' .--'' .--'' .--.      speaks Redis {REDIS_VERSION} (00000000/0) {bits} bit
    (  . .  . .  . .  . .  )
     '--. ''--. ''--. ''--'      Running in standalone mode
       (1021)(1022)(1023)        Port: {port}
        '--'  '--'  '--'         PID: {pid}

"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_id_can_be_read_out_of_it() {
        let text = text(6379, 4711);
        assert!(text.contains("PID: 4711\n") && text.contains("Port: 6379\n"), "{text}");
        assert!(text.starts_with('\n') && text.ends_with("\n\n"));
    }
}
