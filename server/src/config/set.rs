//! CONFIG SET.

use super::directive::{Effect, Refused};
use super::{Config, table};

impl Config {
    /// Changes one setting. The caller carries out the effect; see the module's header for how to do both or neither.
    ///
    /// # Errors
    /// The error reply for `resp::Out::error_line`. Nothing has been changed then.
    pub fn set(&mut self, name: &[u8], value: &[u8]) -> Result<Effect, Vec<u8>> {
        let Some(row) = table::find(name).filter(|row| row.settable) else {
            return Err(reply(&[b"Unsupported CONFIG parameter: ", name]));
        };
        match row.set_value(self, value) {
            Ok(()) => Ok(row.effect),
            Err(Refused::Invalid(_)) => Err(reply(&[b"Invalid argument '", value, b"' for CONFIG SET '", name, b"'"])),
            Err(Refused::Because(text)) => Err(reply(&[text.as_bytes()])),
        }
    }
}

fn reply(parts: &[&[u8]]) -> Vec<u8> {
    [b"ERR ".as_slice(), &parts.concat()].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::BACKLOG_BYTES_MIN;
    use super::*;

    /// Sets a few and returns what CONFIG GET shows of the last.
    fn after(settings: &[(&str, &str)]) -> Result<String, String> {
        let mut config = Config::default();
        for (name, value) in settings {
            config.set(name.as_bytes(), value.as_bytes()).map_err(|error| String::from_utf8(error).unwrap())?;
        }
        let (_, value) = config.get(settings.last().unwrap().0.as_bytes()).remove(0);
        Ok(String::from_utf8(value).unwrap())
    }

    #[test]
    fn a_setting_reads_back_as_it_is_in_force() {
        for (name, value, shown) in [
            ("maxmemory", "100mb", "104857600"),
            ("maxmemory", "1k", "1000"),
            ("hz", "0", "1"),
            ("hz", "100000", "500"),
            ("repl-backlog-size", "1", "16384"),
            ("watchdog-period", "50", "200"),
            ("watchdog-period", "500", "500"),
            ("watchdog-period", "0", "0"),
            ("save", "900 1 300 10", "900 1 300 10"),
            ("save", "", ""),
            ("notify-keyspace-events", "KEA", "AKE"),
            ("requirepass", "", ""),
            ("appendonly", "YES", "yes"),
            ("loglevel", "Debug", "debug"),
            ("client-output-buffer-limit", "", "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60"),
            (
                "client-output-buffer-limit",
                "normal 1 2 3 pubsub 1mb 0 0",
                "normal 1 2 3 slave 268435456 67108864 60 pubsub 1048576 0 0",
            ),
        ] {
            assert_eq!(after(&[(name, value)]).as_deref(), Ok(shown), "{name} {value}");
        }
    }

    #[test]
    fn a_bad_value_is_refused_as_redis_does() {
        for (name, value) in [
            ("maxmemory", "-1"),
            ("maxmemory", "abc"),
            ("maxclients", "0"),
            ("timeout", "+1"),
            ("timeout", "-1"),
            ("slowlog-log-slower-than", "-1"),
            ("save", "900"),
            ("save", "900 1  300 10"),
            ("save", "0 1"),
            ("appendonly", "maybe"),
            ("appendfsync", "sometimes"),
            ("Notify-Keyspace-Events", "KEq"),
            ("client-output-buffer-limit", "normal 1 2"),
            ("client-output-buffer-limit", "master 0 0 0"),
            ("client-output-buffer-limit", "normal 0 0 0 slave x 0 0"),
        ] {
            let expected = format!("ERR Invalid argument '{value}' for CONFIG SET '{name}'");
            assert_eq!(after(&[(name, value)]), Err(expected));
        }
        assert_eq!(after(&[("dbfilename", "a/b")]), Err("ERR dbfilename can't be a path, just a filename".into()));
    }

    #[test]
    fn what_is_not_settable_is_not_supported() {
        for name in ["port", "databases", "daemonize", "server-threads", "nosuch", "include", "bind", "slaveof"] {
            assert_eq!(after(&[(name, "1")]), Err(format!("ERR Unsupported CONFIG parameter: {name}")));
        }
    }

    #[test]
    fn the_caller_learns_what_is_left_to_do() {
        let mut config = Config::default();
        for (name, value, effect) in [
            ("maxclients", "20", Effect::MaxClients),
            ("appendonly", "yes", Effect::AppendOnly),
            ("dir", "data", Effect::ChangeDir),
            ("maxmemory", "1", Effect::MaxMemory),
            ("repl-backlog-size", "1mb", Effect::BacklogSize),
            ("min-slaves-to-write", "1", Effect::MinSlaves),
            ("loglevel", "debug", Effect::LogLevel),
            ("watchdog-period", "300", Effect::Watchdog),
            ("hash-max-ziplist-entries", "5", Effect::Nothing),
        ] {
            assert_eq!(config.set(name.as_bytes(), value.as_bytes()), Ok(effect), "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_refused_change_changes_nothing(
            row in 0..table::TABLE.len(),
            value in prop_oneof!["[0-9a-z ]{0,20}", "-?[0-9]{1,25}", "[0-9]{1,3}[kmg]b?( [0-9]{1,3})*", "(yes|no|always|K)"],
        ) {
            let mut config = Config::default();
            if config.set(table::TABLE[row].name.as_bytes(), value.as_bytes()).is_err() {
                prop_assert_eq!(&config, &Config::default());
            }
            prop_assert!(config.repl_backlog_size >= BACKLOG_BYTES_MIN);
        }
    }
}
