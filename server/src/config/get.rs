//! CONFIG GET.

use super::{Config, table};

impl Config {
    /// Every setting whose name matches the glob `pattern` (case does not matter), with its value, in Redis' order.
    pub fn get(&self, pattern: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
        let rows = table::TABLE
            .iter()
            .filter(|row| row.shown && matches(pattern, row.name.as_bytes()));
        rows.map(|row| (row.name, row.value(self))).collect()
    }
}

/// Redis' `stringmatch` without regard to case: `*`, `?`, `[abc]`, `[^a-z]`, and `\` before a byte that means itself.
///
/// Takes at most (length of pattern) * (length of name) steps: after a mismatch only the last `*` is tried anew.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut last_star = None;
    loop {
        let rest = pattern.get(p..).unwrap_or_default();
        let step = match (rest.first(), name.get(n)) {
            (None, None) => return true,
            (Some(b'*'), _) => {
                last_star = Some((p + 1, n));
                p += 1;
                continue;
            }
            (Some(_), Some(&byte)) => one(rest, byte),
            _ => None,
        };
        match (step, last_star) {
            (Some(taken), _) => (p, n) = (p + taken, n + 1),
            (None, Some((after_star, from))) if from < name.len() => {
                last_star = Some((after_star, from + 1));
                (p, n) = (after_star, from + 1);
            }
            _ => return false,
        }
    }
}

/// How many bytes of the pattern stand for `byte`; `None` if they do not.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    let same = |wanted: u8| wanted.eq_ignore_ascii_case(&byte);
    match pattern {
        [b'?', ..] => Some(1),
        [b'[', ..] => class(pattern, byte),
        [b'\\', wanted, ..] => same(*wanted).then_some(2),
        [wanted, ..] => same(*wanted).then_some(1),
        [] => None,
    }
}

/// As `one`, for a pattern that starts with `[`. A class that is not closed ends with the pattern.
fn class(pattern: &[u8], byte: u8) -> Option<usize> {
    let byte = byte.to_ascii_lowercase();
    let negated = pattern.get(1) == Some(&b'^');
    let mut at = if negated { 2 } else { 1 };
    let mut found = false;
    loop {
        let rest = pattern.get(at..).unwrap_or_default();
        at += match rest {
            [] => break,
            [b']', ..] => {
                at += 1;
                break;
            }
            [b'\\', wanted, ..] => {
                found |= wanted.eq_ignore_ascii_case(&byte);
                2
            }
            [low, b'-', high, ..] => {
                let (low, high) = (low.to_ascii_lowercase(), high.to_ascii_lowercase());
                found |= (low.min(high)..=low.max(high)).contains(&byte);
                3
            }
            [wanted, ..] => {
                found |= wanted.eq_ignore_ascii_case(&byte);
                1
            }
        };
    }
    (found != negated).then_some(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{BufferLimit, Primary, SavePoint};
    use super::*;

    #[test]
    fn names_are_matched_by_globs() {
        for (pattern, name, is) in [
            ("*", "save", true),
            ("", "save", false),
            ("save", "save", true),
            ("SAVE", "save", true),
            ("s*e", "save", true),
            ("s*v", "save", false),
            ("*max*entries", "zset-max-ziplist-entries", true),
            ("s?ve", "save", true),
            ("save?", "save", false),
            ("s[A-c]ve", "save", true),
            ("s[^a-c]ve", "save", false),
            ("s[z\\a]ve", "save", true),
            ("\\s*", "save", true),
            ("sav[e", "save", true),
            ("save**", "save", true),
            ("s\\", "s\\", true),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                is,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn settings_print_as_redis_prints_them() {
        let mut config = Config {
            dir: "/srv".into(),
            requirepass: Some(b"pw".to_vec()),
            ..Config::default()
        };
        config.save = vec![
            SavePoint {
                seconds: 900,
                changes: 1,
            },
            SavePoint {
                seconds: 300,
                changes: 10,
            },
        ];
        config.slaveof = Some(Primary {
            host: "10.0.0.1".into(),
            port: 6380,
        });
        config.client_output_buffer_limit[0] = BufferLimit {
            hard_bytes: 1 << 20,
            soft_bytes: 2,
            soft_seconds: 3,
        };
        config.unixsocketperm = 0o700;
        config.bind = vec!["127.0.0.1".into(), "::1".into()];
        for (name, value) in [
            ("save", "900 1 300 10"),
            ("dir", "/srv"),
            ("requirepass", "pw"),
            ("masterauth", ""),
            ("slaveof", "10.0.0.1 6380"),
            (
                "client-output-buffer-limit",
                "normal 1048576 2 3 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
            ),
            ("unixsocketperm", "700"),
            ("bind", "127.0.0.1 ::1"),
            ("maxmemory-policy", "noeviction"),
            ("repl-backlog-size", "1048576"),
            ("appendonly", "no"),
            ("list-max-ziplist-size", "-2"),
            ("notify-keyspace-events", ""),
        ] {
            assert_eq!(
                config.get(name.as_bytes()),
                [(name, value.as_bytes().to_vec())]
            );
        }
    }

    #[test]
    fn all_settings_come_in_redis_order_and_ours_last() {
        let names: Vec<_> = Config::default()
            .get(b"*")
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names.first(), Some(&"dbfilename"));
        assert_eq!(names.get(7), Some(&"maxmemory"));
        assert_eq!(names.last(), Some(&"server-threads"));
        assert_eq!(names.len(), 71);
        assert_eq!(Config::default().get(b"appendfilename"), []);
        assert_eq!(Config::default().get(b"include"), []);
    }

    /// The plain definition, which tries everything.
    fn matches_slowly(pattern: &[u8], name: &[u8]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((b'*', rest)) => {
                (0..=name.len()).any(|skipped| matches_slowly(rest, &name[skipped..]))
            }
            Some(_) => name.split_first().is_some_and(|(&byte, others)| {
                one(pattern, byte).is_some_and(|taken| matches_slowly(&pattern[taken..], others))
            }),
        }
    }

    proptest! {
        #[test]
        fn the_quick_match_agrees_with_the_plain_one(pattern in r"[ab*?\[\]^\\-]{0,8}", name in "[ab]{0,6}") {
            let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
            prop_assert_eq!(matches(pattern, name), matches_slowly(pattern, name));
        }
    }
}
