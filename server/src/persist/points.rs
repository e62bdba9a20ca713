//! When to save and when to rewrite, as 3.2 decides it: a pure function of what is known.

use crate::config::SavePoint;

/// After a save has failed, the next try comes so many seconds later.
const RETRY_S: i64 = 5;

/// What the decision depends on.
pub struct Facts<'f> {
    /// A job is running.
    pub busy: bool,
    /// Unix time in seconds.
    pub now_s: i64,
    /// Changes since the last save.
    pub dirty: u64,
    /// When the last save was done.
    pub last_save_s: i64,
    /// When the last one was tried.
    pub last_try_s: i64,
    /// Whether it was done.
    pub save_ok: bool,
    /// When to save.
    pub points: &'f [SavePoint],
    /// BGSAVE SCHEDULE was asked for.
    pub save_scheduled: bool,
    /// BGREWRITEAOF was asked for while something else was running.
    pub rewrite_scheduled: bool,
    /// Bytes of the AOF.
    pub aof_size: u64,
    /// Bytes that it had after the last rewrite.
    pub aof_base: u64,
    /// `auto-aof-rewrite-percentage`.
    pub rewrite_percentage: u64,
    /// `auto-aof-rewrite-min-size`.
    pub rewrite_min_size: u64,
    /// Whether there is an AOF.
    pub aof_on: bool,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing is due.
    Nothing,
    /// Save, perhaps because of a save point.
    Save(Option<SavePoint>),
    /// Rewrite, perhaps because the file has grown by so many percent.
    Rewrite(Option<u64>),
}

/// Decides.
pub fn decide(facts: &Facts<'_>) -> Decision {
    if facts.busy {
        return Decision::Nothing;
    }
    if facts.rewrite_scheduled {
        return Decision::Rewrite(None);
    }
    let may_try = facts.save_ok || facts.now_s - facts.last_try_s > RETRY_S;
    let is_due = |point: &&SavePoint| {
        facts.dirty >= point.changes && facts.now_s - facts.last_save_s > point.seconds as i64 && may_try
    };
    if let Some(point) = facts.points.iter().find(is_due) {
        return Decision::Save(Some(*point));
    }
    if facts.aof_on && facts.rewrite_percentage > 0 && facts.aof_size > facts.rewrite_min_size {
        let growth = (facts.aof_size * 100 / facts.aof_base.max(1)).saturating_sub(100);
        if growth >= facts.rewrite_percentage {
            return Decision::Rewrite(Some(growth));
        }
    }
    if facts.save_scheduled && may_try { Decision::Save(None) } else { Decision::Nothing }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POINT: SavePoint = SavePoint { seconds: 60, changes: 100 };

    fn facts() -> Facts<'static> {
        Facts {
            busy: false,
            now_s: 1_000,
            dirty: 0,
            last_save_s: 900,
            last_try_s: 0,
            save_ok: true,
            points: &[POINT],
            save_scheduled: false,
            rewrite_scheduled: false,
            aof_size: 0,
            aof_base: 0,
            rewrite_percentage: 100,
            rewrite_min_size: 1_000,
            aof_on: true,
        }
    }

    #[test]
    fn a_save_point_needs_both_changes_and_time() {
        assert_eq!(decide(&facts()), Decision::Nothing);
        assert_eq!(decide(&Facts { dirty: 100, ..facts() }), Decision::Save(Some(POINT)));
        assert_eq!(decide(&Facts { dirty: 100, last_save_s: 940, ..facts() }), Decision::Nothing);
        assert_eq!(decide(&Facts { dirty: 100, busy: true, ..facts() }), Decision::Nothing);
    }

    #[test]
    fn after_a_failure_the_next_try_waits() {
        let failed = || Facts { dirty: 100, save_ok: false, last_try_s: 996, ..facts() };
        assert_eq!(decide(&failed()), Decision::Nothing);
        assert_eq!(decide(&Facts { last_try_s: 994, ..failed() }), Decision::Save(Some(POINT)));
    }

    #[test]
    fn the_aof_is_rewritten_when_it_has_grown_enough() {
        let grown = || Facts { aof_size: 4_000, aof_base: 2_000, ..facts() };
        assert_eq!(decide(&grown()), Decision::Rewrite(Some(100)));
        assert_eq!(decide(&Facts { aof_base: 2_001, ..grown() }), Decision::Nothing);
        assert_eq!(decide(&Facts { aof_size: 1_000, aof_base: 1, ..grown() }), Decision::Nothing);
        assert_eq!(decide(&Facts { aof_on: false, ..grown() }), Decision::Nothing);
        assert_eq!(decide(&Facts { rewrite_percentage: 0, ..grown() }), Decision::Nothing);
    }

    #[test]
    fn a_scheduled_rewrite_comes_before_a_scheduled_save() {
        let both = || Facts { save_scheduled: true, rewrite_scheduled: true, ..facts() };
        assert_eq!(decide(&both()), Decision::Rewrite(None));
        assert_eq!(decide(&Facts { rewrite_scheduled: false, ..both() }), Decision::Save(None));
    }
}
