//! Connections to other servers, and what is said on them. Only the threads that move keys come here; they may wait.

use super::{Job, Parcel, State, Target};
use crate::resolve::resolve;
use engine::clock::Now;
use engine::effects::encode;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Connections kept (`MIGRATE_SOCKET_CACHE_ITEMS` of 3.2).
const KEPT_MAX: usize = 64;
/// How long one is kept unused (`MIGRATE_SOCKET_CACHE_TTL`).
const KEPT_MS: i64 = 10_000;
/// Bytes of one write, so that the timeout is for so many.
const WRITE_BYTES: usize = 64 * 1024;
/// A reply that is longer is none.
const LINE_MAX: u64 = 16 * 1024;

/// A connection on which everything was answered.
struct Link {
    target: Target,
    stream: BufReader<TcpStream>,
    /// The database that the other side has selected, if that is known.
    db: Option<i64>,
    used_ms: i64,
}

/// Connections that nobody uses now.
#[derive(Default)]
pub(super) struct Links(Mutex<Vec<Link>>);

/// Why an exchange ended early.
enum Broken {
    Connecting(io::Error),
    Writing(io::Error),
    Reading(io::Error),
}

impl Broken {
    fn is_timeout(&self) -> bool {
        let (Broken::Connecting(error) | Broken::Writing(error) | Broken::Reading(error)) = self;
        matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
    }

    /// What 3.2 says of it.
    fn text(&self) -> Vec<u8> {
        match self {
            Broken::Connecting(error) if self.is_timeout() || error.kind() == io::ErrorKind::ConnectionRefused => {
                b"IOERR error or timeout connecting to the client".to_vec()
            }
            Broken::Connecting(error) => {
                format!("ERR Can't connect to target node: {}", crate::os_error::text(error)).into_bytes()
            }
            Broken::Writing(_) => b"IOERR error or timeout writing to target instance".to_vec(),
            Broken::Reading(_) => b"IOERR error or timeout reading to target instance".to_vec(),
        }
    }
}

impl Links {
    fn lock(&self) -> MutexGuard<'_, Vec<Link>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    pub(super) fn close_idle(&self, now: Now) {
        self.lock().retain(|link| now.ms - link.used_ms <= KEPT_MS);
    }

    fn take(&self, target: &Target) -> Option<Link> {
        let mut links = self.lock();
        let at = links.iter().position(|link| link.target == *target)?;
        Some(links.swap_remove(at))
    }

    fn keep(&self, link: Link) {
        let mut links = self.lock();
        if links.len() == KEPT_MAX {
            links.swap_remove(0);
        }
        links.push(link);
    }

    /// Sends what is to be sent and notes what the other side says of each key. Returns the first error.
    pub(super) fn send(&self, job: &mut Job) -> Option<Vec<u8>> {
        let kept = self.take(&job.target);
        let was_kept = kept.is_some();
        let first = self.try_send(job, kept);
        let second = match first {
            // The other side may have closed a connection that we kept, and then has seen nothing of this.
            Err((ref broken, false)) if was_kept && !broken.is_timeout() => self.try_send(job, None),
            first => first,
        };
        let mut kept = 0;
        for parcel in &mut job.parcels {
            match parcel.state {
                State::ToSend => parcel.state = State::Stays,
                // It was told once, and nobody waits until it hears.
                State::ToForget => {
                    kept += 1;
                    (parcel.state, parcel.taken) = (State::Stays, false);
                }
                State::Acknowledged | State::Stays => {}
            }
        }
        if kept > 0 {
            let Target { host, port, .. } = &job.target;
            crate::log::warning!("MIGRATE: {host}:{port} may keep {kept} keys that were not to move");
        }
        match second {
            Ok(error) => error,
            Err((broken, _)) => Some(broken.text()),
        }
    }

    /// One exchange on `kept` or a new connection. `Err` says too whether something was answered.
    fn try_send(&self, job: &mut Job, kept: Option<Link>) -> Result<Option<Vec<u8>>, (Broken, bool)> {
        let mut answered = false;
        let exchange = || {
            let mut link = match kept {
                Some(link) => link,
                None => Link::open(&job.target, job.timeout).map_err(Broken::Connecting)?,
            };
            let error = link.exchange(job, &mut answered)?;
            if error.is_none() {
                self.keep(link);
            }
            Ok(error)
        };
        let result = exchange();
        result.map_err(|broken| (broken, answered))
    }
}

impl Link {
    fn open(target: &Target, timeout: Duration) -> io::Result<Link> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for addr in resolve(&target.host, target.port, timeout, || false)? {
            match TcpStream::connect_timeout(&addr, timeout) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(Link { target: target.clone(), stream: BufReader::new(stream), db: None, used_ms: 0 });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn exchange(&mut self, job: &mut Job, answered: &mut bool) -> Result<Option<Vec<u8>>, Broken> {
        let stream = self.stream.get_ref();
        stream.set_read_timeout(Some(job.timeout)).map_err(Broken::Writing)?;
        stream.set_write_timeout(Some(job.timeout)).map_err(Broken::Writing)?;
        let (greeting, before) = self.greeting(job);
        // Who is refused a password or a database is still served what stands behind, in the database that was chosen
        // before: so keys wait for the answer, unless that is the right one anyway, as on a new connection.
        let waits = before > 0 && (job.target.password.is_some() || job.target_db != 0 || self.db.is_some());
        let keys = Self::keys(job, Now::read().ms);
        let first = if waits { greeting } else { [&greeting[..], &keys].concat() };
        self.write(&first)?;
        let mut error = None;
        for _ in 0..before {
            let line = self.line().map_err(Broken::Reading)?;
            *answered = true;
            note_error(&mut error, &line);
        }
        let refused = error.is_some();
        if waits {
            if refused {
                return Ok(error);
            }
            self.write(&keys)?;
        }
        for parcel in job.parcels.iter_mut().filter(|parcel| parcel.is_to_be_said()) {
            let line = match self.line() {
                Ok(line) => line,
                // What the other side said before matters more than that it went.
                Err(_) if error.is_some() => return Ok(error),
                Err(broken) => return Err(Broken::Reading(broken)),
            };
            *answered = true;
            let taken = !note_error(&mut error, &line) && !refused;
            match parcel.state {
                State::ToForget if taken => (parcel.state, parcel.taken) = (State::Stays, false),
                State::ToForget => {}
                _ if taken => (parcel.state, parcel.taken) = (State::Acknowledged, true),
                _ => parcel.state = State::Stays,
            }
        }
        self.db = error.is_none().then_some(job.target_db);
        self.used_ms = Now::read().ms;
        Ok(error)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        bytes.chunks(WRITE_BYTES).try_for_each(|part| self.stream.get_mut().write_all(part)).map_err(Broken::Writing)
    }

    /// The requests that come before the keys, and how many they are.
    fn greeting(&self, job: &Job) -> (Vec<u8>, usize) {
        let (mut request, mut before) = (Vec::new(), 0);
        let mut say = |words: &[&[u8]]| encode(words.iter().copied(), &mut request);
        // A connection that was used has a database selected, and has said its password.
        if let (None, Some(password)) = (self.db, &job.target.password) {
            say(&[b"AUTH", password]);
            before += 1;
        }
        if self.db != Some(job.target_db) {
            say(&[b"SELECT", job.target_db.to_string().as_bytes()]);
            before += 1;
        }
        (request, before)
    }

    /// The requests about keys.
    fn keys(job: &Job, now_ms: i64) -> Vec<u8> {
        let mut request = Vec::new();
        let mut say = |words: &[&[u8]]| encode(words.iter().copied(), &mut request);
        for parcel in job.parcels.iter().filter(|parcel| parcel.is_to_be_said()) {
            let Parcel { key, payload, expire_at_ms, state, .. } = parcel;
            if *state == State::ToForget {
                say(&[b"DEL", key]);
                continue;
            }
            let ttl = expire_at_ms.map_or(0, |at| (at - now_ms).max(1)).to_string();
            let words: [&[u8]; 5] = [b"RESTORE", key, ttl.as_bytes(), payload, b"REPLACE"];
            say(if job.replace { &words } else { &words[..4] });
        }
        request
    }

    /// One line without its end.
    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        self.stream.by_ref().take(LINE_MAX).read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(line)
    }
}

/// Whether `line` is an error, which is kept if it is the first.
fn note_error(error: &mut Option<Vec<u8>>, line: &[u8]) -> bool {
    let Some(text) = line.strip_prefix(b"-") else { return false };
    error.get_or_insert_with(|| [b"ERR Target instance replied with error: ", text].concat());
    true
}
