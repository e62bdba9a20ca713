//! The end: what is still to be saved, and that nothing changes after.

use super::job::Kind;
use super::save;
use super::{Logged, aof_note, gate};
use crate::dispatch::Executor;
use crate::log;
use crate::node::Node;
use commands::args::Args;
use engine::clock::Now;
use engine::keyspace::{Keyspace, Local};
use std::thread;
use std::time::Duration;

/// Time between two looks at whether a shutdown may go on.
const LOOK: Duration = Duration::from_millis(5);

/// What SHUTDOWN was told about saving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Save {
    /// Nothing: as the save points say.
    AsConfigured,
    /// SAVE.
    Yes,
    /// NOSAVE.
    No,
}

/// What a SHUTDOWN says; `None` if that is nothing known.
pub fn wish(args: &Args<'_>) -> Option<Save> {
    match args.len() {
        1 => Some(Save::AsConfigured),
        2 if args.is(1, "save") => Some(Save::Yes),
        2 if args.is(1, "nosave") => Some(Save::No),
        _ => None,
    }
}

/// What a client is told whose SHUTDOWN cannot be carried out.
pub const REFUSED: &str = "ERR Errors trying to SHUTDOWN. Check logs.";

/// Whether a SHUTDOWN that saves nothing could be carried out now. If not, the log says why.
pub fn check(node: &Node) -> Result<(), Logged> {
    if node.persist.aof.is_waiting() && node.persist.state().running_since_s(Kind::Rewrite).is_some() {
        log::warning!("Writing initial AOF, can't exit.");
        return Err(Logged);
    }
    Ok(())
}

/// Whether what moves keys has ended, or has had its time: until then a shutdown is to come again, with no slot held.
pub fn may_go_on(node: &Node, wish: Save) -> bool {
    let wish = if node.scripts.is_abandoned() { Save::No } else { wish };
    let saves = node.persist.aof.is_written() || saves(node, wish);
    node.moves.closing.may_go_on(node, saves)
}

/// Whether there is to be a last save.
fn saves(node: &Node, wish: Save) -> bool {
    let by_points = !node.config().save.is_empty() && wish != Save::No;
    !node.persist.gate.has(gate::LOADING) && (by_points || wish == Save::Yes)
}

/// Ends the server if a script was ended for that, but the client that asked for it left before it could go on.
pub fn keep_promise(exec: &mut Executor, now: Now) {
    let node = exec.node;
    if node.scripts.is_abandoned() && !node.persist.gate.has(gate::STOPPING) && may_go_on(node, Save::No) {
        // The script is not at its end yet, or this is refused by nothing any more.
        let _: Option<Result<(), Logged>> = exec.with_all(now, |keys| shut_down(node, keys, Save::No));
    }
}

/// Saves what is to be saved and asks all threads to end; all slots are or can be held. When it cannot, the server goes
/// on.
pub fn shut_down(node: &Node, keys: &mut Keyspace<'_, '_>, wish: Save) -> Result<(), Logged> {
    let config = node.config();
    log::warning!("User requested shutdown...");
    let moving = node.moves.closing.under_way(node);
    if moving > 0 {
        log::warning!("{moving} batches or commands that move keys have not ended: their targets may keep copies");
    }
    keys.hold_all();
    if node.persist.abandon(Kind::Save) {
        log::warning!("There is a child saving an .rdb. Killing it!");
    }
    // Half of a script's writes may be in memory: there is no way back, and nothing to save, whoever comes first.
    let halfway = node.scripts.is_abandoned();
    let wish = if halfway { Save::No } else { wish };
    if !halfway {
        check(node)?;
    }
    if node.persist.abandon(Kind::Rewrite) {
        log::warning!("There is a child rewriting the AOF. Killing it!");
    }
    if node.persist.aof.is_written() {
        log::notice!("Calling fsync() on the AOF file.");
        node.persist.aof.sync_to(node, node.oplog.file_end());
    }
    if saves(node, wish) {
        log::notice!("Saving the final RDB snapshot before exiting.");
        if save::foreground(node, &config, keys).is_err() {
            log::warning!("Error trying to save the DB, can't exit.");
            return Err(Logged);
        }
    }
    // A replica must not be told more than the files have of which it will ask for the rest.
    node.oplog.close();
    if node.persist.aof.is_written() {
        node.persist.aof.sync_to(node, node.oplog.file_end());
    }
    aof_note::leave(node, &config);
    node.persist.gate.set(gate::STOPPING, true);
    node.stop();
    Ok(())
}

/// As a signal asks for it, from a thread that is no reactor.
pub fn by_signal(node: &'static Node) {
    if node.persist.gate.has(gate::LOADING) {
        std::process::exit(0);
    }
    while !may_go_on(node, Save::AsConfigured) {
        thread::sleep(LOOK);
    }
    let mut guest = node.guest();
    let mut held = guest.owner().wait_privileged();
    let mut local = Local::default();
    let mut keys = Keyspace::new(&mut held, &mut local, 0, Now::read());
    if shut_down(node, &mut keys, Save::AsConfigured).is_err() {
        log::warning!(
            "SIGTERM received but errors trying to shut down the server, check the logs for more information"
        );
    }
}
