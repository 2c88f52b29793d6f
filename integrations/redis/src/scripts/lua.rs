//! The scripts themselves.
//!
//! What lies at a value's key: version (16) ∥ expires, ms (8) ∥ δ, µs (8) ∥ made, ms (8) ∥ payload.
//! At a flight's: `L` ∥ token (16) ∥ process, or its end without a value: `F` (it has failed) or
//! `N` (there is none) ∥ token ∥ kept until, ms (8) ∥ text.

/// All of them.
pub(super) const ALL: [&str; 10] = [ACQUIRE, PUBLISH, RENEW, FAIL, RELEASE, INSERT, EXPIRE, GENERATION, TAG, TAGS];

/// Looks at the value and the flight, and takes the lease if neither answers.
///
/// The value and the flight are read, and so tracked: any later change is pushed. ARGV: token,
/// process, lead_timeout, mode (1: not the version that the caller has; 2: no value that is there),
/// that version, the flight that the caller waited for, a flight whose result it does not take, the
/// greatest age in ms, whether an old value is of use while another process loads.
pub(super) const ACQUIRE: &str = r"
local t=redis.call('TIME') local now=t[1]*1000+math.floor(t[2]/1000)
local head=redis.call('GETRANGE',KEYS[1],0,39)
local ver,exp,delta,made,left='',0,0,now,0
if #head==40 then ver=head:sub(1,16) exp,delta,made=struct.unpack('>I8I8I8',head:sub(17)) left=exp-now end
local age=now-made
if left>0 and ARGV[4]~='2' and ver~=ARGV[7] and not (ARGV[4]=='1' and ver==ARGV[5])
  and (ARGV[8]=='' or age<=tonumber(ARGV[8])) then
  if ver==ARGV[5] then return {'same',left,delta,age,false,0,'',''} end
  return {'hit',left,delta,age,redis.call('GET',KEYS[1]),0,'',''} end
local f=redis.call('GET',KEYS[2])
local kind=f and f:sub(1,1)
if kind=='L' then
  if redis.call('PUBSUB','NUMSUB',f:sub(18))[2]>0 then
    local old=ARGV[9]=='1' and #head==40 and redis.call('GET',KEYS[1])
    return {'wait',left,delta,age,old,redis.call('PTTL',KEYS[2]),f:sub(2,17),ver} end
elseif kind and ARGV[4]~='2' and f:sub(2,17)~=ARGV[7] then
  local kept=struct.unpack('>I8',f:sub(18,25))-now
  if kept>0 or f:sub(2,17)==ARGV[6] then
    return {kind=='F' and 'failed' or 'absent',kept,0,0,f:sub(26),0,'',''} end end
redis.call('SET',KEYS[2],'L'..ARGV[1]..ARGV[2],'PX',ARGV[3])
redis.call('GET',KEYS[2])
return {'lead',left,delta,age,#head==40 and redis.call('GET',KEYS[1]) or false,0,'',''}";

/// Stores the value of the flight, unless another one has taken its place. ARGV: token, payload,
/// the time left and the time kept after it, δ, age.
pub(super) const PUBLISH: &str = r"
local f=redis.call('GET',KEYS[2])
if not f or f:sub(1,17)~='L'..ARGV[1] then return 0 end
local t=redis.call('TIME') local now=t[1]*1000+math.floor(t[2]/1000)
local times=struct.pack('>I8I8I8',now+tonumber(ARGV[3]),tonumber(ARGV[5]),math.max(0,now-tonumber(ARGV[6])))
redis.call('SET',KEYS[1],ARGV[1]..times..ARGV[2],'PX',ARGV[3]+ARGV[4])
redis.call('DEL',KEYS[2]) redis.call('GETRANGE',KEYS[1],0,0) return 1";

/// Confirms the old value, of the version ARGV[2], for a new time to live.
pub(super) const RENEW: &str = r"
local f=redis.call('GET',KEYS[2])
if not f or f:sub(1,17)~='L'..ARGV[1] or redis.call('GETRANGE',KEYS[1],0,15)~=ARGV[2] then return 0 end
local t=redis.call('TIME') local now=t[1]*1000+math.floor(t[2]/1000)
local times=struct.pack('>I8I8I8',now+tonumber(ARGV[3]),tonumber(ARGV[5]),math.max(0,now-tonumber(ARGV[6])))
redis.call('SETRANGE',KEYS[1],0,ARGV[1]..times)
redis.call('PEXPIRE',KEYS[1],ARGV[3]+ARGV[4])
redis.call('DEL',KEYS[2]) redis.call('GETRANGE',KEYS[1],0,0) return 1";

/// Ends the flight without a value, which those who waited for it share. With the kind `N` there is
/// none: an old one is removed. ARGV: token, kind, kept, text.
pub(super) const FAIL: &str = r"
local f=redis.call('GET',KEYS[2])
if not f or f:sub(1,17)~='L'..ARGV[1] then return 0 end
local t=redis.call('TIME') local kept=t[1]*1000+math.floor(t[2]/1000)+tonumber(ARGV[3])
if ARGV[2]=='N' then redis.call('DEL',KEYS[1]) end
redis.call('SET',KEYS[2],ARGV[2]..ARGV[1]..struct.pack('>I8',kept)..ARGV[4],'PX',math.max(1000,tonumber(ARGV[3])))
return 1";

/// Gives the flight up, if it is still this one.
pub(super) const RELEASE: &str = r"
local f=redis.call('GET',KEYS[2])
if f and f:sub(1,17)=='L'..ARGV[1] then return redis.call('DEL',KEYS[2]) end return 0";

/// Stores a value at once; a flight in progress will not be stored. With a base ARGV[2], a version
/// that must be there: if it is not, removes the key and returns 0.
pub(super) const INSERT: &str = r"
redis.call('DEL',KEYS[2])
if ARGV[2]~='' and redis.call('GETRANGE',KEYS[1],0,15)~=ARGV[2] then redis.call('DEL',KEYS[1]) return 0 end
local t=redis.call('TIME') local now=t[1]*1000+math.floor(t[2]/1000)
local times=struct.pack('>I8I8I8',now+tonumber(ARGV[4]),tonumber(ARGV[6]),math.max(0,now-tonumber(ARGV[7])))
redis.call('SET',KEYS[1],ARGV[1]..times..ARGV[3],'PX',ARGV[4]+ARGV[5])
return 1";

/// Ends the value's time to live, and keeps it for its windows.
pub(super) const EXPIRE: &str = r"
local head=redis.call('GETRANGE',KEYS[1],0,39)
if #head<40 then return 0 end
local exp=struct.unpack('>I8',head:sub(17))
local t=redis.call('TIME') local now=t[1]*1000+math.floor(t[2]/1000)
if exp<=now then return 0 end
local keep=redis.call('PTTL',KEYS[1])-(exp-now)
redis.call('SETRANGE',KEYS[1],0,ARGV[1]..struct.pack('>I8',now))
if keep>0 then redis.call('PEXPIRE',KEYS[1],keep) else redis.call('DEL',KEYS[1]) end
return 1";

/// Returns the generation, which is created if there is none. With a second argument, begins anew.
///
/// A generation is a random stamp and no counter: if it is evicted or lost, the next one differs
/// from all before it, and no entry comes back from the dead.
pub(super) const GENERATION: &str = r"
if ARGV[2]=='1' or redis.call('EXISTS',KEYS[1])==0 then redis.call('SET',KEYS[1],ARGV[1]) end
return redis.call('GET',KEYS[1])";

/// Invalidates one cell of tags, and tells it. `e`: the epoch, random; `s`: the last number.
pub(super) const TAG: &str = r"
if redis.call('HEXISTS',KEYS[1],'e')==0 then redis.call('HSET',KEYS[1],'e',ARGV[1],'s',0) end
local e=redis.call('HGET',KEYS[1],'e') local n=redis.call('HINCRBY',KEYS[1],'s',1)
redis.call('HSET',KEYS[1],ARGV[2],n)
redis.call('PUBLISH',ARGV[3],e..' '..n..' '..ARGV[2]) return {e,n}";

/// Returns all that is known of tags; the epoch is created, and told, if there is none.
pub(super) const TAGS: &str = r"
if redis.call('HEXISTS',KEYS[1],'e')==0 then
  redis.call('DEL',KEYS[1]) redis.call('HSET',KEYS[1],'e',ARGV[1],'s',0)
  redis.call('PUBLISH',ARGV[2],ARGV[1]..' 0 0') end
return redis.call('HGETALL',KEYS[1])";
