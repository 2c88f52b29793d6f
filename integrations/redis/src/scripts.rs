//! The protocol's steps, each one atomic script that touches one slot.

mod lua;

use crate::link::Nodes;
use crate::terms::{Times, millis, signed_millis};
use crate::wire::{EntryNames, Token};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisResult, Script, Value};
use std::time::Duration;

/// The scripts with their hashes.
pub(crate) struct Scripts {
    acquire: Script,
    publish: Script,
    renew: Script,
    fail: Script,
    release: Script,
    insert: Script,
    expire: Script,
    generation: Script,
    tag: Script,
    tags: Script,
}

/// The times of a value that lies on the server, by its clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Served {
    /// How long it is fresh still.
    pub(crate) left: Duration,
    /// How long its time is over.
    pub(crate) over: Duration,
    /// What a load of it takes.
    pub(crate) delta: Duration,
    /// How long ago it was made.
    pub(crate) age: Duration,
}

/// All bytes at a value's key, and its times.
pub(crate) type Stored = (Vec<u8>, Served);

/// The server's answer to ACQUIRE.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Acquired {
    /// A value that the caller does not have.
    Hit(Stored),
    /// The value that the caller has is good.
    Same(Served),
    /// Another flight has the lease, for so long at most. With the version that lies there, and an
    /// old value if it was asked for.
    Wait { left: Duration, token: Token, version: Option<Token>, old: Option<Stored> },
    /// The flight that the caller waited for has failed, or any did a moment ago.
    Failed { text: String },
    /// There is no value, for so long.
    Absent { kept: Duration },
    /// The caller leads. `old`: what lies at the value's key.
    Lead { old: Option<Stored> },
}

/// Which values the caller takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    Any,
    /// None of the version that it has.
    Other,
    /// None that is there now.
    New,
}

/// What ACQUIRE is asked with.
pub(crate) struct Ask<'a> {
    pub(crate) token: &'a Token,
    /// The channel by which others see that the process lives.
    pub(crate) alive: &'a str,
    pub(crate) lead_timeout: Duration,
    pub(crate) takes: Takes,
    pub(crate) have: Option<Token>,
    /// The flight that the caller has waited for.
    pub(crate) waited: Option<Token>,
    /// A flight whose result it does not take.
    pub(crate) refused: Option<Token>,
    pub(crate) max_age: Option<Duration>,
    pub(crate) wants_old: bool,
}

/// How a flight ends without a value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End<'a> {
    Failed(&'a str),
    Absent,
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).min(1 << 50)
}

fn unexpected() -> redis::RedisError {
    (redis::ErrorKind::UnexpectedReturnType, "an answer that the protocol does not have").into()
}

/// ACQUIRE's answer as it comes: status, left, δ, age, bytes, lease, token, version.
type Answer = (String, i64, u64, i64, Option<Vec<u8>>, i64, Vec<u8>, Vec<u8>);

impl Acquired {
    fn parse((status, left, delta, age, data, lease, token, version): Answer) -> RedisResult<Self> {
        let time = |millis: i64| Duration::from_millis(millis.max(0) as u64);
        let (delta, age) = (Duration::from_micros(delta), time(age));
        let served = Served { left: time(left), over: time(left.saturating_neg()), delta, age };
        let stored = data.map(|data| (data, served));
        Ok(match (&*status, stored) {
            ("hit", Some(stored)) => Self::Hit(stored),
            ("same", _) => Self::Same(served),
            ("wait", old) => Self::Wait {
                left: time(lease),
                token: token.try_into().map_err(|_| unexpected())?,
                version: version.try_into().ok(),
                old,
            },
            ("failed", Some((text, _))) => Self::Failed { text: String::from_utf8_lossy(&text).into_owned() },
            ("absent", _) => Self::Absent { kept: time(left) },
            ("lead", old) => Self::Lead { old },
            _ => return Err(unexpected()),
        })
    }
}

impl Scripts {
    pub(crate) fn new() -> Self {
        Self {
            acquire: Script::new(lua::ACQUIRE),
            publish: Script::new(lua::PUBLISH),
            renew: Script::new(lua::RENEW),
            fail: Script::new(lua::FAIL),
            release: Script::new(lua::RELEASE),
            insert: Script::new(lua::INSERT),
            expire: Script::new(lua::EXPIRE),
            generation: Script::new(lua::GENERATION),
            tag: Script::new(lua::TAG),
            tags: Script::new(lua::TAGS),
        }
    }

    /// Has a server learn all scripts, in one round trip: no later call sends a script's text. (A
    /// server that forgets them is told anew, by the call that finds it so.)
    pub(crate) async fn teach(&self, conn: &mut MultiplexedConnection) -> RedisResult<()> {
        let mut pipe = Pipeline::with_capacity(lua::ALL.len());
        for text in lua::ALL {
            pipe.cmd("SCRIPT").arg("LOAD").arg(text).ignore();
        }
        pipe.query_async(conn).await
    }

    /// Returns the arguments of ACQUIRE, in their order.
    fn acquiring(ask: &Ask<'_>) -> [Vec<u8>; 9] {
        let token = |token: Option<Token>| token.map_or_else(Vec::new, |token| token.to_vec());
        let takes = match ask.takes {
            Takes::Any => "0",
            Takes::Other => "1",
            Takes::New => "2",
        };
        let max_age = ask.max_age.map(|age| signed_millis(age).to_string()).unwrap_or_default();
        [
            ask.token.to_vec(),
            ask.alive.into(),
            millis(ask.lead_timeout).to_string().into(),
            takes.into(),
            token(ask.have),
            token(ask.waited),
            token(ask.refused),
            max_age.into(),
            if ask.wants_old { "1" } else { "0" }.into(),
        ]
    }

    pub(crate) async fn acquire(&self, nodes: &Nodes, names: &EntryNames, ask: Ask<'_>) -> RedisResult<Acquired> {
        let mut call = self.acquire.key(&names.value);
        call.key(&names.flight);
        for argument in Self::acquiring(&ask) {
            call.arg(argument);
        }
        Acquired::parse(call.invoke_async(&mut nodes.of(&names.value)).await?)
    }

    /// Returns a command that runs a script. The first one of a pipeline sends the script's text,
    /// so that the others need not ask whether the server knows it.
    fn command(script: (&Script, &str), first: bool, names: &EntryNames) -> Cmd {
        let mut cmd = redis::cmd(if first { "EVAL" } else { "EVALSHA" });
        cmd.arg(if first { script.1 } else { script.0.get_hash() }).arg(2).arg(&names.value).arg(&names.flight);
        cmd
    }

    /// Asks for several keys of one node, in one round trip.
    pub(crate) async fn acquire_all(
        &self,
        nodes: &Nodes,
        asks: &[(&EntryNames, Ask<'_>)],
    ) -> RedisResult<Vec<Acquired>> {
        let mut pipe = Pipeline::with_capacity(asks.len());
        for (number, (names, ask)) in asks.iter().enumerate() {
            let mut cmd = Self::command((&self.acquire, lua::ACQUIRE), number == 0, names);
            cmd.arg(&Self::acquiring(ask)[..]);
            pipe.add_command(cmd);
        }
        let Some((first, _)) = asks.first() else { return Ok(Vec::new()) };
        let answers: Vec<Answer> = pipe.query_async(&mut nodes.of(&first.value)).await?;
        answers.into_iter().map(Acquired::parse).collect()
    }

    /// Stores several values of one node, in one round trip. Returns for each whether it is stored.
    pub(crate) async fn publish_all(
        &self,
        nodes: &Nodes,
        values: &[(&EntryNames, &Token, &[u8], Times)],
    ) -> RedisResult<Vec<bool>> {
        let mut pipe = Pipeline::with_capacity(values.len());
        for (number, (names, token, payload, times)) in values.iter().enumerate() {
            let mut cmd = Self::command((&self.publish, lua::PUBLISH), number == 0, names);
            cmd.arg(token.as_slice()).arg(*payload);
            cmd.arg(times.left).arg(times.keep).arg(micros(times.cost)).arg(times.age);
            pipe.add_command(cmd);
        }
        let Some((first, ..)) = values.first() else { return Ok(Vec::new()) };
        pipe.query_async(&mut nodes.of(&first.value)).await
    }

    /// Ends several flights of one node without a value, in one round trip.
    pub(crate) async fn fail_all(
        &self,
        nodes: &Nodes,
        flights: &[(&EntryNames, &Token, End<'_>, Duration)],
    ) -> RedisResult<Vec<bool>> {
        let mut pipe = Pipeline::with_capacity(flights.len());
        for (number, (names, token, end, kept)) in flights.iter().enumerate() {
            let mut cmd = Self::command((&self.fail, lua::FAIL), number == 0, names);
            let (kind, text) = end.parts();
            cmd.arg(token.as_slice()).arg(kind).arg(kept_millis(*kept)).arg(text);
            pipe.add_command(cmd);
        }
        let Some((first, ..)) = flights.first() else { return Ok(Vec::new()) };
        pipe.query_async(&mut nodes.of(&first.value)).await
    }

    /// Returns whether the value is stored; if not, another flight or a change came in between.
    pub(crate) async fn publish(
        &self,
        nodes: &Nodes,
        names: &EntryNames,
        token: &Token,
        payload: &[u8],
        times: Times,
    ) -> RedisResult<bool> {
        let mut call = self.publish.key(&names.value);
        call.key(&names.flight).arg(token.as_slice()).arg(payload);
        call.arg(times.left).arg(times.keep).arg(micros(times.cost)).arg(times.age);
        call.invoke_async(&mut nodes.of(&names.value)).await
    }

    /// Returns whether the old value is renewed; its version is the token then.
    pub(crate) async fn renew(
        &self,
        nodes: &Nodes,
        names: &EntryNames,
        (token, old): (&Token, &Token),
        times: Times,
    ) -> RedisResult<bool> {
        let mut call = self.renew.key(&names.value);
        call.key(&names.flight).arg(token.as_slice()).arg(old.as_slice());
        call.arg(times.left).arg(times.keep).arg(micros(times.cost)).arg(times.age);
        call.invoke_async(&mut nodes.of(&names.value)).await
    }

    /// Ends the flight without a value, and returns whether it was still this one.
    pub(crate) async fn fail(
        &self,
        nodes: &Nodes,
        names: &EntryNames,
        token: &Token,
        (end, kept): (End<'_>, Duration),
    ) -> RedisResult<bool> {
        let (kind, text) = end.parts();
        let mut call = self.fail.key(&names.value);
        call.key(&names.flight).arg(token.as_slice()).arg(kind).arg(kept_millis(kept)).arg(text);
        call.invoke_async(&mut nodes.of(&names.value)).await
    }

    pub(crate) async fn release(&self, nodes: &Nodes, names: &EntryNames, token: &Token) -> RedisResult<bool> {
        let mut call = self.release.key(&names.value);
        call.key(&names.flight).arg(token.as_slice());
        call.invoke_async(&mut nodes.of(&names.value)).await
    }

    /// Returns whether the value is stored. If not, the version that must be there was not, and the
    /// key is removed.
    pub(crate) async fn insert(
        &self,
        nodes: &Nodes,
        names: &EntryNames,
        (version, base): (&Token, Option<&Token>),
        payload: &[u8],
        times: Times,
    ) -> RedisResult<bool> {
        let mut call = self.insert.key(&names.value);
        call.key(&names.flight).arg(version.as_slice()).arg(base.map_or(&[][..], |base| base)).arg(payload);
        call.arg(times.left).arg(times.keep).arg(micros(times.cost)).arg(times.age);
        call.invoke_async(&mut nodes.of(&names.value)).await
    }

    /// Returns whether there was a value whose time was not over.
    pub(crate) async fn expire(&self, nodes: &Nodes, names: &EntryNames, token: &Token) -> RedisResult<bool> {
        self.expire.key(&names.value).arg(token.as_slice()).invoke_async(&mut nodes.of(&names.value)).await
    }

    /// Returns the generation; with `anew`, a new one.
    pub(crate) async fn generation(&self, nodes: &Nodes, key: &[u8], stamp: &str, anew: bool) -> RedisResult<String> {
        self.generation.key(key).arg(stamp).arg(u8::from(anew)).invoke_async(&mut nodes.of(key)).await
    }

    /// Invalidates a cell of tags. Returns the epoch and the invalidation's number.
    pub(crate) async fn tag(
        &self,
        nodes: &Nodes,
        key: &[u8],
        (epoch, cell, channel): (u64, u16, &str),
    ) -> RedisResult<(u64, u64)> {
        let mut call = self.tag.key(key);
        call.arg(epoch.to_string()).arg(cell).arg(channel).invoke_async(&mut nodes.of(key)).await
    }

    /// Returns the fields of the tags' key and their numbers.
    pub(crate) async fn tags(
        &self,
        nodes: &Nodes,
        key: &[u8],
        (epoch, channel): (u64, &str),
    ) -> RedisResult<Vec<(String, u64)>> {
        let mut call = self.tags.key(key);
        let fields = call.arg(epoch.to_string()).arg(channel).invoke_async::<Value>(&mut nodes.of(key)).await?;
        Ok(redis::from_redis_value(fields)?)
    }
}

/// Returns how long an end without a value is kept, in ms.
fn kept_millis(kept: Duration) -> u64 {
    if kept.is_zero() { 0 } else { millis(kept) }
}

impl<'a> End<'a> {
    /// Returns the mark of the end, and its text.
    fn parts(self) -> (&'static str, &'a str) {
        match self {
            Self::Failed(text) => ("F", text),
            Self::Absent => ("N", ""),
        }
    }
}
