//! The protocol's steps, each one atomic script that touches one slot.

use crate::wire::{EntryNames, Token};
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Script, Value};
use std::time::Duration;

/// Looks at the value and the flight, and takes the lease if neither answers.
///
/// The value and the flight are read, and so tracked: any later change is pushed.
const ACQUIRE: &str = r"
local t=redis.call('TIME') local now=t[1]*1000+math.floor(t[2]/1000)
local head=redis.call('GETRANGE',KEYS[1],0,31)
local ver,exp,delta,left='',0,0,0
if #head==32 then ver=head:sub(1,16) exp,delta=struct.unpack('>I8I8',head:sub(17)) left=exp-now end
if left>0 and not (ARGV[4]=='1' and ver==ARGV[5]) then
  if ver==ARGV[5] then return {'same',left,delta,false} end
  return {'hit',left,delta,redis.call('GET',KEYS[1])} end
local f=redis.call('GET',KEYS[2])
if f then
  if f:sub(1,1)=='L' then
    if redis.call('PUBSUB','NUMSUB',f:sub(18))[2]>0 then
      return {'wait',redis.call('PTTL',KEYS[2]),0,f:sub(2,17)} end
  elseif f:sub(2,17)==ARGV[6] or struct.unpack('>I8',f:sub(18,25))>now then
    return {'failed',0,0,f:sub(26)} end end
redis.call('SET',KEYS[2],'L'..ARGV[1]..ARGV[2],'PX',ARGV[3])
redis.call('GET',KEYS[2])
return {'lead',left,delta,#head==32 and redis.call('GET',KEYS[1]) or false}";

/// Stores the value of the flight, unless another one has taken its place.
const PUBLISH: &str = r"
local f=redis.call('GET',KEYS[2])
if not f or f:sub(1,17)~='L'..ARGV[1] then return 0 end
local t=redis.call('TIME') local exp=t[1]*1000+math.floor(t[2]/1000)+tonumber(ARGV[3])
redis.call('SET',KEYS[1],ARGV[1]..struct.pack('>I8I8',exp,tonumber(ARGV[5]))..ARGV[2],'PX',ARGV[3]+ARGV[4])
redis.call('DEL',KEYS[2]) redis.call('GETRANGE',KEYS[1],0,0) return 1";

/// Confirms the old value, of the version ARGV[5], for a new time to live.
const RENEW: &str = r"
local f=redis.call('GET',KEYS[2])
if not f or f:sub(1,17)~='L'..ARGV[1] or redis.call('GETRANGE',KEYS[1],0,15)~=ARGV[5] then return 0 end
local t=redis.call('TIME') local exp=t[1]*1000+math.floor(t[2]/1000)+tonumber(ARGV[2])
redis.call('SETRANGE',KEYS[1],0,ARGV[1]..struct.pack('>I8I8',exp,tonumber(ARGV[4])))
redis.call('PEXPIRE',KEYS[1],ARGV[2]+ARGV[3])
redis.call('DEL',KEYS[2]) redis.call('GETRANGE',KEYS[1],0,0) return 1";

/// Ends the flight with an error, which those who waited for it share.
const FAIL: &str = r"
local f=redis.call('GET',KEYS[2])
if not f or f:sub(1,17)~='L'..ARGV[1] then return 0 end
local t=redis.call('TIME') local kept=t[1]*1000+math.floor(t[2]/1000)+tonumber(ARGV[3])
redis.call('SET',KEYS[2],'F'..ARGV[1]..struct.pack('>I8',kept)..ARGV[2],'PX',math.max(1000,tonumber(ARGV[3])))
return 1";

/// Gives the flight up, if it is still this one.
const RELEASE: &str = r"
local f=redis.call('GET',KEYS[2])
if f and f:sub(1,17)=='L'..ARGV[1] then return redis.call('DEL',KEYS[2]) end return 0";

/// Stores a value at once; a flight in progress will not be stored. With a base ARGV[5], a version
/// that must be there: if it is not, removes the key and returns 0.
const INSERT: &str = r"
redis.call('DEL',KEYS[2])
if ARGV[5]~='' and redis.call('GETRANGE',KEYS[1],0,15)~=ARGV[5] then redis.call('DEL',KEYS[1]) return 0 end
local t=redis.call('TIME') local exp=t[1]*1000+math.floor(t[2]/1000)+tonumber(ARGV[3])
redis.call('SET',KEYS[1],ARGV[1]..struct.pack('>I8I8',exp,0)..ARGV[2],'PX',ARGV[3]+ARGV[4])
return 1";

/// Ends the value's time to live, and keeps it for the windows of old values.
const EXPIRE: &str = r"
local head=redis.call('GETRANGE',KEYS[1],0,31)
if #head<32 then return 0 end
local exp,delta=struct.unpack('>I8I8',head:sub(17))
local t=redis.call('TIME') local now=t[1]*1000+math.floor(t[2]/1000)
if exp<=now then return 0 end
redis.call('SETRANGE',KEYS[1],0,ARGV[1]..struct.pack('>I8I8',now,delta))
if tonumber(ARGV[2])>0 then redis.call('PEXPIRE',KEYS[1],ARGV[2]) else redis.call('DEL',KEYS[1]) end
return 1";

/// Returns the generation, which is created if there is none. With a second argument, begins anew.
///
/// A generation is a random stamp and no counter: if it is evicted or lost, the next one differs
/// from all before it, and no entry comes back from the dead.
const GENERATION: &str = r"
if ARGV[2]=='1' or redis.call('EXISTS',KEYS[1])==0 then redis.call('SET',KEYS[1],ARGV[1]) end
return redis.call('GET',KEYS[1])";

/// Invalidates one cell of tags, and tells it. `e`: the epoch, random; `s`: the last number.
const TAG: &str = r"
if redis.call('HEXISTS',KEYS[1],'e')==0 then redis.call('HSET',KEYS[1],'e',ARGV[1],'s',0) end
local e=redis.call('HGET',KEYS[1],'e') local n=redis.call('HINCRBY',KEYS[1],'s',1)
redis.call('HSET',KEYS[1],ARGV[2],n)
redis.call('PUBLISH',ARGV[3],e..' '..n..' '..ARGV[2]) return {e,n}";

/// Returns all that is known of tags; the epoch is created, and told, if there is none.
const TAGS: &str = r"
if redis.call('HEXISTS',KEYS[1],'e')==0 then
  redis.call('DEL',KEYS[1]) redis.call('HSET',KEYS[1],'e',ARGV[1],'s',0)
  redis.call('PUBLISH',ARGV[2],ARGV[1]..' 0 0') end
return redis.call('HGETALL',KEYS[1])";

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

/// The server's answer to ACQUIRE. Times are by its clock.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Acquired {
    /// A value that the caller does not have, with all bytes at its key.
    Hit { left: Duration, delta: Duration, stored: Vec<u8> },
    /// The value that the caller has is good.
    Same { left: Duration, delta: Duration },
    /// Another flight has the lease, for so long at most.
    Wait { left: Duration, token: Token },
    /// The flight that the caller waited for has failed.
    Failed { text: String },
    /// The caller leads. `old`: what lies at the value's key, and how long its time is over.
    Lead { old: Option<(Vec<u8>, Duration)> },
}

/// What ACQUIRE is asked with.
pub(crate) struct Ask<'a> {
    pub(crate) token: &'a Token,
    /// The channel by which others see that the process lives.
    pub(crate) alive: &'a str,
    pub(crate) lead_timeout: Duration,
    /// Whether the version `have` is to be replaced though it is good.
    pub(crate) refresh: bool,
    pub(crate) have: Option<Token>,
    /// The flight that the caller has waited for.
    pub(crate) waited: Option<Token>,
}

/// Returns whole milliseconds, at least 1, as scripts take them.
pub(crate) fn millis(time: Duration) -> u64 {
    // Bounded, so that sums in Lua stay exact, and within what PX takes.
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX).clamp(1, MOST_MILLIS)
}

/// The longest time that the server is told: a hundred years, in ms.
const MOST_MILLIS: u64 = 100 * 366 * 24 * 3600 * 1000;

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).min(1 << 50)
}

fn unexpected() -> redis::RedisError {
    (redis::ErrorKind::UnexpectedReturnType, "an answer that the protocol does not have").into()
}

impl Acquired {
    fn parse((status, time, delta, data): (String, i64, u64, Option<Vec<u8>>)) -> RedisResult<Self> {
        let (left, delta) = (Duration::from_millis(time.max(0) as u64), Duration::from_micros(delta));
        Ok(match (&*status, data) {
            ("hit", Some(stored)) => Self::Hit { left, delta, stored },
            ("same", _) => Self::Same { left, delta },
            ("wait", Some(token)) => Self::Wait { left, token: token.try_into().map_err(|_| unexpected())? },
            ("failed", Some(text)) => Self::Failed { text: String::from_utf8_lossy(&text).into_owned() },
            ("lead", old) => Self::Lead { old: old.map(|old| (old, Duration::from_millis((-time).max(0) as u64))) },
            _ => return Err(unexpected()),
        })
    }
}

impl Scripts {
    pub(crate) fn new() -> Self {
        Self {
            acquire: Script::new(ACQUIRE),
            publish: Script::new(PUBLISH),
            renew: Script::new(RENEW),
            fail: Script::new(FAIL),
            release: Script::new(RELEASE),
            insert: Script::new(INSERT),
            expire: Script::new(EXPIRE),
            generation: Script::new(GENERATION),
            tag: Script::new(TAG),
            tags: Script::new(TAGS),
        }
    }

    pub(crate) async fn acquire(
        &self,
        conn: &mut MultiplexedConnection,
        names: &EntryNames,
        ask: Ask<'_>,
    ) -> RedisResult<Acquired> {
        let version = |version: Option<Token>| version.map_or_else(Vec::new, |token| token.to_vec());
        let mut call = self.acquire.key(&names.value);
        call.key(&names.flight).arg(ask.token.as_slice()).arg(ask.alive).arg(millis(ask.lead_timeout));
        call.arg(u8::from(ask.refresh)).arg(version(ask.have)).arg(version(ask.waited));
        Acquired::parse(call.invoke_async(conn).await?)
    }

    /// Returns whether the value is stored; if not, another flight or a change came in between.
    pub(crate) async fn publish(
        &self,
        conn: &mut MultiplexedConnection,
        names: &EntryNames,
        token: &Token,
        payload: &[u8],
        (ttl, keep, delta): (Duration, Duration, Duration),
    ) -> RedisResult<bool> {
        let mut call = self.publish.key(&names.value);
        call.key(&names.flight).arg(token.as_slice()).arg(payload);
        call.arg(millis(ttl)).arg(millis(keep)).arg(micros(delta));
        call.invoke_async(conn).await
    }

    /// Returns whether the old value is renewed; its version is the token then.
    pub(crate) async fn renew(
        &self,
        conn: &mut MultiplexedConnection,
        names: &EntryNames,
        (token, old): (&Token, &Token),
        (ttl, keep, delta): (Duration, Duration, Duration),
    ) -> RedisResult<bool> {
        let mut call = self.renew.key(&names.value);
        call.key(&names.flight).arg(token.as_slice()).arg(millis(ttl)).arg(millis(keep)).arg(micros(delta));
        call.arg(old.as_slice()).invoke_async(conn).await
    }

    pub(crate) async fn fail(
        &self,
        conn: &mut MultiplexedConnection,
        names: &EntryNames,
        token: &Token,
        text: &str,
        negative_ttl: Duration,
    ) -> RedisResult<bool> {
        let kept = if negative_ttl.is_zero() { 0 } else { millis(negative_ttl) };
        let mut call = self.fail.key(&names.value);
        call.key(&names.flight).arg(token.as_slice()).arg(text).arg(kept).invoke_async(conn).await
    }

    pub(crate) async fn release(
        &self,
        conn: &mut MultiplexedConnection,
        names: &EntryNames,
        token: &Token,
    ) -> RedisResult<bool> {
        self.release.key(&names.value).key(&names.flight).arg(token.as_slice()).invoke_async(conn).await
    }

    /// Returns whether the value is stored. If not, the version that must be there was not, and the
    /// key is removed.
    pub(crate) async fn insert(
        &self,
        conn: &mut MultiplexedConnection,
        names: &EntryNames,
        (version, base): (&Token, Option<&Token>),
        payload: &[u8],
        (ttl, keep): (Duration, Duration),
    ) -> RedisResult<bool> {
        let mut call = self.insert.key(&names.value);
        call.key(&names.flight).arg(version.as_slice()).arg(payload);
        call.arg(millis(ttl)).arg(millis(keep)).arg(base.map_or(&[][..], |base| base)).invoke_async(conn).await
    }

    /// Returns whether there was a value whose time was not over.
    pub(crate) async fn expire(
        &self,
        conn: &mut MultiplexedConnection,
        names: &EntryNames,
        token: &Token,
        keep: Duration,
    ) -> RedisResult<bool> {
        let keep = if keep.is_zero() { 0 } else { millis(keep) };
        self.expire.key(&names.value).arg(token.as_slice()).arg(keep).invoke_async(conn).await
    }

    /// Returns the generation; with `anew`, a new one.
    pub(crate) async fn generation(
        &self,
        conn: &mut MultiplexedConnection,
        key: &[u8],
        stamp: &str,
        anew: bool,
    ) -> RedisResult<String> {
        self.generation.key(key).arg(stamp).arg(u8::from(anew)).invoke_async(conn).await
    }

    /// Invalidates a cell of tags. Returns the epoch and the invalidation's number.
    pub(crate) async fn tag(
        &self,
        conn: &mut MultiplexedConnection,
        key: &[u8],
        (epoch, cell, channel): (u64, u16, &str),
    ) -> RedisResult<(u64, u64)> {
        self.tag.key(key).arg(epoch.to_string()).arg(cell).arg(channel).invoke_async(conn).await
    }

    /// Returns the fields of the tags' key and their numbers.
    pub(crate) async fn tags(
        &self,
        conn: &mut MultiplexedConnection,
        key: &[u8],
        (epoch, channel): (u64, &str),
    ) -> RedisResult<Vec<(String, u64)>> {
        let mut call = self.tags.key(key);
        let fields = call.arg(epoch.to_string()).arg(channel).invoke_async::<Value>(conn).await?;
        Ok(redis::from_redis_value(fields)?)
    }
}
