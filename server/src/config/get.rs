//! CONFIG GET.

use resp::glob_match;

use super::{Config, table};

impl Config {
    /// Every setting whose name matches the glob `pattern` (case does not matter), with its value, in Redis' order.
    pub fn get(&self, pattern: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
        let rows = table::TABLE.iter().filter(|row| row.shown && glob_match(pattern, row.name.as_bytes(), true));
        rows.map(|row| (row.name, row.value(self))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BufferLimit, Primary, SavePoint};
    use super::*;

    #[test]
    fn settings_print_as_redis_prints_them() {
        let mut config = Config { dir: "/srv".into(), requirepass: Some(b"pw".to_vec()), ..Config::default() };
        config.save = vec![SavePoint { seconds: 900, changes: 1 }, SavePoint { seconds: 300, changes: 10 }];
        config.slaveof = Some(Primary { host: "10.0.0.1".into(), port: 6380 });
        config.client_output_buffer_limit[0] = BufferLimit { hard_bytes: 1 << 20, soft_bytes: 2, soft_seconds: 3 };
        config.unixsocketperm = 0o700;
        config.bind = vec!["127.0.0.1".into(), "::1".into()];
        for (name, value) in [
            ("save", "900 1 300 10"),
            ("dir", "/srv"),
            ("requirepass", "pw"),
            ("masterauth", ""),
            ("slaveof", "10.0.0.1 6380"),
            ("client-output-buffer-limit", "normal 1048576 2 3 slave 268435456 67108864 60 pubsub 33554432 8388608 60"),
            ("unixsocketperm", "700"),
            ("bind", "127.0.0.1 ::1"),
            ("maxmemory-policy", "noeviction"),
            ("repl-backlog-size", "1048576"),
            ("appendonly", "no"),
            ("list-max-ziplist-size", "-2"),
            ("notify-keyspace-events", ""),
        ] {
            assert_eq!(config.get(name.as_bytes()), [(name, value.as_bytes().to_vec())]);
        }
    }

    #[test]
    fn all_settings_come_in_redis_order_and_ours_last() {
        let names: Vec<_> = Config::default().get(b"*").into_iter().map(|(name, _)| name).collect();
        assert_eq!(names.first(), Some(&"dbfilename"));
        assert_eq!(names.get(7), Some(&"maxmemory"));
        assert_eq!(names.last(), Some(&"server-threads"));
        assert_eq!(names.len(), 73);
        assert_eq!(Config::default().get(b"MAXM*").len(), 3);
        assert_eq!(Config::default().get(b"appendfilename"), []);
        assert_eq!(Config::default().get(b"include"), []);
    }
}
