//! Explicit-state check of the single-key flight protocol (see README.md). Sequentially consistent; one op = one atomic step.
//! An actor is ordinary code over `Cx::op`; its local state is (label, locals, results of the ops since the label), so a
//! step re-runs the code on the recorded results, does one new op, and runs on to the next op.
use std::collections::HashMap;
use std::hash::{Hash, Hasher};

const N: usize = 8; // nodes a run may allocate
const T: usize = 4;
const NIL: u8 = 15;
const COMP: u8 = 0; const EMPTY: u8 = 1; const PUB: u8 = 2; const READY: u8 = 3; const REFR: u8 = 4;
const END: u32 = u32::MAX; // of a re-check: this waiter has ended the flight
const FAILED: u8 = 5; const DEAD: u8 = 6; const CLOSED: u8 = 7;
fn valued(tag: u8) -> bool { tag == READY || tag == REFR || tag == CLOSED }

/// Wording changes under test; the literal text is all false.
#[derive(Clone, Copy, Default, Debug)]
struct Fix {
    end_first: bool,  // e: S's terminal RMW first, then REFRESHING -> READY (by the ender or whoever meets it)
    keep_lease: bool, // k: EMPTY keeps the lease number
    lost_swap: bool,  // w: a publisher whose swap failed takes its weight back, without a listener call
    retry_mark: bool, // r: a remover that loses the mark looks again
    own_lease: bool,  // o: a take-over names the lease number it timed out on
    closed_val: bool, // c: CLOSED still answers its waiters with the value
    zero_w: bool,     // z: weight stamp 0 = handed over only (TTL zero; own mark seen before READY): no add, GONE does nothing with it
    sweep_s: bool,    // s: the sweep also ends an EMPTY S (taking a share of S first)
    failed_last: bool, // f: a failure that is kept is put in O's place first, and FAILED then
    gone_back: bool,  // g: a kept failure that is GONE by the time it is FAILED takes its weight back
    lost_back: bool,  // l: a failure whose swap failed, or that saw its own mark, takes its weight back
    removed_ends: bool, // d: a waiter that would lead a flight which was removed ends it
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Word { tag: u8, lease: u8, waiters: u8, succ: u8, gone: bool }
impl Word {
    fn pack(self, stale: bool) -> u32 {
        self.tag as u32 | (self.lease as u32) << 4 | (self.waiters as u32) << 8 | (self.succ as u32) << 12 | (self.gone as u32) << 16 | (stale as u32) << 17
    }
}
fn tag(r: u32) -> u8 { (r & 15) as u8 }
fn lease(r: u32) -> u8 { (r >> 4 & 15) as u8 }
fn waiters(r: u32) -> u8 { (r >> 8 & 15) as u8 }
fn succ(r: u32) -> u8 { (r >> 12 & 15) as u8 }
fn stale(r: u32) -> bool { r >> 17 & 1 == 1 }

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Node {
    used: bool, w: Word, next: u8, mark: bool, count: i8, val: bool, stale: bool, slot: u8, par: u8, weight: i8, listening: u8, kept: bool,
    // ghosts
    retired: bool, left: i8, grace: u8, began: bool, stored: bool, listened: u8, removed: bool, overlap: u8, load: bool, own: u8, lin: bool,
}
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Mem {
    n: [Node; N], nn: u8, head: u8, slots: [u8; N], weight: i8, pinned: u8, notified: u8,
    taint: u8, bad: [u8; T], inv: [u8; T], err: Option<&'static str>,
}
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Th { pc: u8, label: u8, loc: [u8; 5], hist: Vec<u32>, done: bool }
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct State { m: Mem, th: Vec<Th> }

impl Mem {
    fn fail(&mut self, e: &'static str) { if self.err.is_none() { self.err = Some(e) } }
    fn at(&mut self, t: usize, n: u8) -> &mut Node {
        let x = self.n[n as usize];
        if x.retired && x.grace >> t & 1 == 0 { self.fail("law 7: retired node used by a thread whose pin does not cover it") }
        &mut self.n[n as usize]
    }
    fn alloc(&mut self, tag: u8, count: i8, par: u8) -> u8 {
        let i = self.nn; assert!((i as usize) < N, "raise N"); self.nn += 1;
        self.n[i as usize] = Node { used: true, w: Word { tag, lease: 1, waiters: 0, succ: NIL, gone: false }, count, par, ..BLANK };
        i
    }
    fn pin(&mut self, t: usize) { self.pinned |= 1 << t }
    fn unpin(&mut self, t: usize) {
        self.pinned &= !(1 << t);
        for x in self.n.iter_mut() { x.grace &= !(1 << t) }
    }
    fn dec(&mut self, n: u8) {
        let (p, x) = (self.pinned, &mut self.n[n as usize]);
        x.count -= 1;
        if x.count == 0 { x.retired = true; x.grace = p; }
        if x.count < 0 { self.fail("law 7: share given back twice (node would be retired twice)") }
    }
    fn inc(&mut self, t: usize, n: u8) -> bool {
        let x = self.at(t, n);
        if x.count == 0 { return false }
        x.count += 1; true
    }
    fn reach(&self) -> Vec<u8> {
        let (mut v, mut c) = (vec![], self.head);
        while c != NIL { v.push(c); c = self.n[c as usize].next; if v.len() > N { break } }
        v
    }
    fn storable(&self, n: u8) -> bool {
        let x = &self.n[n as usize];
        let at = if x.par == NIL { n } else { x.par };
        x.used && x.load && (x.w.tag == COMP || x.w.tag == PUB || x.w.tag == FAILED) && !self.n[at as usize].mark && self.reach().contains(&at)
    }
    fn begin_load(&mut self, t: usize, n: u8) {
        self.n[n as usize].own = t as u8;
        self.n[n as usize].load = true;
        if self.storable(n) && (0..self.nn).any(|m| m != n && self.storable(m)) { self.fail("law 1: a second flight of the key begins while one that may still be stored is in progress") }
        let b = !(1u8 << n);
        self.taint &= b;
        for i in 0..T { self.bad[i] &= b; self.inv[i] &= b }
        let x = &mut self.n[n as usize];
        x.began = true; x.load = true; x.overlap = 0;
    }
    fn store(&mut self, n: u8) { // the value of a load becomes an entry
        for m in 0..self.nn as usize { if self.n[m].load && m != n as usize { self.n[m].overlap |= 1 << n } }
        let (o, x) = (self.n[n as usize].overlap, self.n[n as usize]);
        if x.par == NIL && x.mark && !x.lin && self.taint >> n & 1 == 1 { self.fail("law 4: fulfil says stored (and the listener will be called) after a completed invalidate") }
        if !(x.par == NIL && x.mark) && (0..self.nn).any(|m| o >> m & 1 == 1 && !self.n[m as usize].removed) { self.fail("law 1: two loads both stored without a removal between") }
        let x = &mut self.n[n as usize];
        x.stored = true; x.load = false;
    }
    fn keep(&mut self, n: u8) { // a failure becomes what the key has
        for m in 0..self.nn as usize { if self.n[m].load && m != n as usize { self.n[m].overlap |= 1 << n } }
        let o = self.n[n as usize].overlap;
        if (0..self.nn).any(|m| o >> m & 1 == 1 && !self.n[m as usize].removed) { self.fail("law 1: a failure takes the place of another load's outcome") }
    }
    fn told(&mut self, t: usize, n: u8) {
        if self.at(t, n).w.tag != FAILED || self.bad[t] >> n & 1 == 1 { self.fail("law 4: a failure from before a completed invalidate/insert is an answer after it") }
    }
    fn found(&mut self, t: usize, n: u8) {
        if !self.at(t, n).val { self.fail("law 2/3: value taken that was never written") }
        if self.bad[t] >> n & 1 == 1 { self.fail("law 4: a value loaded from before a completed invalidate/insert is found after it") }
    }
    fn began_set(&self) -> u8 { (0..N).filter(|&i| self.n[i].began).map(|i| 1u8 << i).sum() }
    fn ring(&mut self, t: usize, n: u8) { let l = self.at(t, n).listening; self.n[n as usize].listening = 0; self.notified |= l }
}
const BLANK: Node = Node {
    used: false, w: Word { tag: 0, lease: 0, waiters: 0, succ: NIL, gone: false }, next: NIL, mark: false, count: 0, val: false, stale: false, slot: NIL,
    par: NIL, weight: 1, listening: 0, kept: false, retired: false, left: 0, grace: 0, began: false, stored: false, listened: 0, removed: false, overlap: 0, load: false, own: NIL, lin: false,
};

struct Cx<'a> { m: &'a mut Mem, th: &'a mut Th, t: usize, f: Fix, i: usize, br: u8, nbr: u8, fresh: bool, blocked: bool, log: String }
type R<X> = Result<X, ()>;
impl<'a> Cx<'a> {
    fn opn(&mut self, nbr: u8, name: &str, f: impl FnOnce(&mut Mem, u8) -> Option<u32>) -> R<u32> {
        if self.i < self.th.hist.len() { self.i += 1; return Ok(self.th.hist[self.i - 1]) }
        if self.fresh { return Err(()) }
        self.fresh = true; self.nbr = nbr;
        match f(self.m, self.br) {
            Some(v) => { self.th.hist.push(v); self.i += 1; self.log = format!("T{} {} -> {:#x}", self.t, name, v); Ok(v) }
            None => { self.blocked = true; Err(()) }
        }
    }
    fn op(&mut self, name: &str, f: impl FnOnce(&mut Mem) -> u32) -> R<u32> { self.opn(1, name, |m, _| Some(f(m))) }
    /// Rides on the op just done (no yield between).
    fn now(&mut self, f: impl FnOnce(&mut Mem)) { if self.fresh { f(self.m) } }
    fn jump<X>(&mut self, label: u8, loc: [u8; 5]) -> R<X> {
        let t = self.t;
        if label <= 1 { self.now(|m| { m.unpin(t); for x in m.n.iter_mut() { x.listening &= !(1 << t) } m.notified &= !(1 << t) }) }
        self.th.label = label; self.th.loc = loc; self.th.hist.clear(); Err(())
    }
    fn finish<X>(&mut self) -> R<X> { let r = self.jump(0, [0; 5]); self.th.pc += 1; r }
    fn dec(&mut self, n: u8) -> R<()> { if n != NIL { self.op(&format!("drop share n{n}"), |m| { m.dec(n); 0 })?; } Ok(()) }
    fn inc(&mut self, n: u8) -> R<bool> { if n == NIL { return Ok(true) } let t = self.t; Ok(self.op(&format!("take share n{n}"), |m| m.inc(t, n) as u32)? == 1) }
    /// A share for a caller that has found the node: it looks at the mark afterwards, and takes the share back if that is set,
    /// unless it is the last one.
    fn share(&mut self, n: u8) -> R<bool> {
        if n == NIL { return Ok(true) }
        let t = self.t;
        if !self.inc(n)? { return Ok(false) }
        if self.op(&format!("sharer reads mark n{n}"), |m| m.at(t, n).mark as u32)? == 0 { return Ok(true) }
        Ok(self.op(&format!("take share n{n} back, unless it is the last"), |m| { let x = m.at(t, n); if x.count == 1 { 1 } else { x.count -= 1; 0 } })? == 1)
    }
    /// The remover's shares: the list's, and the slot's if it holds that. If it has both, and there are no others, they stay.
    fn let_go(&mut self, n: u8, held: bool) -> R<()> {
        if held && self.op(&format!("are the two shares of n{n} all?"), |m| {
            let (p, x) = (m.pinned, &mut m.n[n as usize]);
            if x.count == 2 && x.retired { m.fail("law 7: retired twice"); return 0 }
            if x.count == 2 { x.retired = true; x.left = 2; x.grace = p; 1 } else { 0 }
        })? == 1 { return Ok(()) }
        self.op(&format!("drop {} shares n{n}", 1 + held as u8), |m| { if held { m.n[n as usize].count -= 1 } m.dec(n); 0 })?;
        Ok(())
    }
    fn word(&mut self, n: u8) -> R<u32> { let t = self.t; self.op(&format!("load word n{n}"), |m| { let x = m.at(t, n); x.w.pack(x.stale) }) }

    /// Harris–Michael find with helping: the first unmarked node of the key, or NIL. Pins.
    fn find(&mut self, help: bool) -> R<u8> {
        let (t, first) = (self.t, self.th.label == 0);
        let mut from = NIL;
        loop {
            let r = self.op("find", |m| {
                if from == NIL { m.pin(t); if first { m.bad[t] = m.taint; m.inv[t] = m.began_set() } }
                let c = if from == NIL { m.head } else { m.at(t, from).next };
                if c == NIL { return NIL as u32 }
                let x = m.at(t, c); c as u32 | (x.next as u32) << 4 | (x.mark as u32) << 8
            })?;
            let (c, nx) = ((r & 15) as u8, (r >> 4 & 15) as u8);
            if c == NIL || r >> 8 == 0 { return Ok(c) }
            if !help { from = c; continue }
            self.op(&format!("unlink n{c}"), |m| if m.head == c { m.head = nx; 1 } else { 0 })?;
        }
    }
    fn unlink(&mut self, n: u8) -> R<()> {
        loop {
            let r = self.op("walk", |m| { let c = m.head; if c == NIL { return 0 } let x = m.n[c as usize]; if !x.mark || !m.reach().contains(&n) { 0 } else { 1 + c as u32 + ((x.next as u32) << 4) } })?;
            if r == 0 { return Ok(()) }
            let (c, nx) = (((r - 1) & 15) as u8, ((r - 1) >> 4) as u8);
            self.op(&format!("unlink n{c}"), |m| if m.head == c { m.head = nx; 1 } else { 0 })?;
        }
    }
    /// After a won mark: GONE, weight, listener.
    fn gone(&mut self, n: u8) -> R<()> {
        let t = self.t;
        let r = self.op(&format!("set GONE n{n}"), |m| {
            let x = m.at(t, n); let r = x.w.pack(x.stale);
            // In a READY or CLOSED word GONE would tell nobody anything: the value counts, and the mark decides.
            if x.w.gone { m.fail("law 7: GONE set twice") } else if x.w.tag != CLOSED && x.w.tag != READY { x.w.gone = true } r
        })?;
        let zero = self.f.zero_w && { let m = &*self.m; m.n[n as usize].weight == 0 };
        if tag(r) == FAILED && self.m.n[n as usize].kept { self.op(&format!("weight -= n{n}, a failure"), |m| { m.weight -= 1; 0 })?; }
        if valued(tag(r)) && !zero {
            self.op(&format!("weight -= n{n}, listener"), |m| { m.weight -= m.n[n as usize].weight.max(1); let x = &mut m.n[n as usize]; x.listened += 1;
                if x.listened > 1 { m.fail("listener called twice for one value") } else if !x.stored { m.fail("listener called for a value that was never stored") } 0 })?;
        }
        Ok(())
    }
    /// True if this call has got the slot's share.
    fn clear_slot(&mut self, n: u8) -> R<bool> {
        let t = self.t;
        let i = self.op(&format!("load slot of n{n}"), |m| m.at(t, n).slot as u32)? as u8;
        Ok(i != NIL && self.op(&format!("slot {i}: n{n} -> empty"), |m| if m.slots[i as usize] == n { m.slots[i as usize] = NIL; 1 } else { 0 })? == 1)
    }
    /// Mark, bookkeeping, slot, unlink. True if this call won the mark.
    fn remove(&mut self, n: u8) -> R<bool> {
        let t = self.t;
        let won = self.op(&format!("mark n{n}"), |m| { let x = m.at(t, n); if x.mark { 0 } else { x.mark = true; x.removed = true; 1 } })? == 1;
        let held = won && { self.gone(n)?; self.clear_slot(n)? };
        self.unlink(n)?;
        if won { self.let_go(n, held)? }
        Ok(won)
    }
    /// Slot for a node just stored; `old` is the node it replaced, whose slot it takes over if it can.
    /// True if this call has got the slot's share of `old`.
    fn install(&mut self, n: u8, old: u8) -> R<bool> {
        if self.inc(n)? { self.seat(n, old) } else { Ok(false) }
    }
    /// The actor's own share of n becomes the slot's. True as for `install`.
    fn seat(&mut self, n: u8, old: u8) -> R<bool> {
        let t = self.t;
        let mut placed = false;
        if old != NIL {
            let i = self.op(&format!("load slot of n{old}"), |m| m.at(t, old).slot as u32)? as u8;
            if i != NIL { self.op(&format!("n{n}.slot = {i}"), |m| { m.at(t, n).slot = i; 0 })?; }
            if i != NIL && self.op(&format!("slot {i}: n{old} -> n{n}"), |m| if m.slots[i as usize] == old { m.slots[i as usize] = n; 1 } else { 0 })? == 1 {
                placed = true;
            }
        }
        if !placed {
            self.op(&format!("n{n}.slot = {n}"), |m| { m.at(t, n).slot = n; 0 })?;
            self.op(&format!("slot {n} = n{n}"), |m| { m.slots[n as usize] = n; 0 })?;
        }
        if self.op(&format!("re-check mark n{n}"), |m| m.at(t, n).mark as u32)? == 1 && self.clear_slot(n)? { self.dec(n)? }
        Ok(placed)
    }
    fn o_back(&mut self, o: u8, s: u8) -> R<()> {
        let t = self.t;
        if o != NIL { self.op(&format!("word n{o}: REFRESHING(n{s}) -> READY"), |m| { let w = &mut m.at(t, o).w; if w.tag == REFR && w.succ == s { w.tag = READY; w.succ = NIL; 1 } else { 0 } })?; }
        Ok(())
    }

    // ---- actors -------------------------------------------------------------------------------------------------------
    fn take(&mut self, n: u8) -> R<()> { let t = self.t; self.op(&format!("take value n{n}"), |m| { m.found(t, n); 0 })?; Ok(()) }

    fn get(&mut self, end: u8, wait: u8, early: bool) -> R<()> {
        let [n, o, l, used, _] = self.th.loc;
        match self.th.label { 0 | 1 => self.lookup(early && used == 0, wait == b'o' && used == 0, used), 2 => self.lead(n, o, l, end), 3 => self.park(n, o, l, wait, used), _ => self.recheck(n, o, l, used) }
    }
    fn lookup(&mut self, early: bool, overdue: bool, used: u8) -> R<()> {
        let t = self.t;
        let again = [0, 0, 0, used, 0];
        let c = self.find(true)?;
        if c == NIL {
            let n = self.op("link COMPUTING", |m| if m.head != NIL { NIL as u32 } else { let n = m.alloc(COMP, 2, NIL); m.head = n; m.begin_load(t, n); n as u32 })? as u8;
            if n == NIL { return self.jump(1, again) }
            self.now(|m| m.unpin(t));
            return self.jump(2, [n, NIL, 1, used, 0]);
        }
        let w = self.word(c)?;
        match tag(w) {
            COMP if overdue => self.relieve(c, NIL, lease(w)),
            COMP | PUB => self.join(c, NIL, used),
            EMPTY => self.claim(c, NIL, used),
            READY if stale(w) || early => {
                if !self.share(c)? { return self.jump(1, again) }
                let s = self.op(&format!("word n{c}: READY -> REFRESHING(S)"), |m| {
                    let w = m.at(t, c).w;
                    if w.tag != READY || w.gone { return NIL as u32 }
                    let s = m.alloc(COMP, 1, c); let x = &mut m.n[c as usize].w; x.tag = REFR; x.succ = s; m.begin_load(t, s); s as u32
                })? as u8;
                if s == NIL { self.dec(c)?; return self.jump(1, again) }
                self.now(|m| m.unpin(t));
                self.jump(2, [s, c, 1, used, 0])
            }
            READY => { self.take(c)?; self.finish() }
            REFR if !stale(w) && !overdue => { self.take(c)?; self.finish() }
            REFR => {
                let s = succ(w);
                let ws = self.word(s)?;
                match tag(ws) {
                    COMP if overdue => self.relieve(s, c, lease(ws)),
                    // (It has a good value, and found no overdue leader.)
                    COMP | PUB | EMPTY if !stale(w) => { self.take(c)?; self.finish() }
                    COMP | PUB => self.join(s, c, used),
                    EMPTY => self.claim(s, c, used),
                    FAILED | DEAD => { if self.f.end_first { self.o_back(c, s)? } self.jump(1, again) }
                    _ if !stale(ws) => { self.take(s)?; self.finish() }
                    _ => { self.remove(c)?; self.jump(1, again) }
                }
            }
            FAILED if self.m.n[c as usize].kept => {
                let over = self.opn(2, &format!("kept failure n{c}: 0 = an answer, 1 = over, or not wanted"), |m, b| { if b == 0 { m.told(t, c) } Some(b as u32) })?;
                if over == 0 { return self.finish() }
                self.remove(c)?; self.jump(1, again)
            }
            _ => { self.remove(c)?; self.jump(1, again) }
        }
    }
    fn join(&mut self, n: u8, o: u8, used: u8) -> R<()> {
        let (t, again) = (self.t, [0, 0, 0, used, 0]);
        self.op(&format!("listen n{n}"), |m| { m.at(t, n).listening |= 1 << t; 0 })?;
        if !self.share(n)? { return self.jump(1, again) }
        if !self.share(o)? { self.dec(n)?; return self.jump(1, again) }
        let r = self.op(&format!("join n{n}"), |m| { let x = m.at(t, n); if x.w.tag == COMP { x.w.waiters += 1 } x.w.pack(x.stale) })?;
        match tag(r) {
            COMP | PUB => { self.now(|m| m.unpin(t)); self.jump(3, [n, o, lease(r), used, 0]) }
            x if valued(x) && (x != CLOSED || self.f.closed_val) => { self.take(n)?; self.dec(n)?; self.dec(o)?; self.finish() }
            _ => { self.dec(n)?; self.dec(o)?; self.jump(1, again) }
        }
    }
    fn claim(&mut self, n: u8, o: u8, used: u8) -> R<()> {
        let (t, f, again) = (self.t, self.f, [0, 0, 0, used, 0]);
        if !self.share(n)? { return self.jump(1, again) }
        if !self.share(o)? { self.dec(n)?; return self.jump(1, again) }
        let r = self.op(&format!("claim n{n}"), |m| claim(m, t, n, f, 0))?;
        if tag(r) == EMPTY { self.now(|m| m.unpin(t)); return self.jump(2, [n, o, lease(r), used, 0]) }
        self.dec(n)?; self.dec(o)?; self.jump(1, again)
    }
    /// A caller who comes by finds that lease l has been held for too long, and takes over without having waited.
    fn relieve(&mut self, n: u8, o: u8, l: u8) -> R<()> {
        let (t, again) = (self.t, [0, 0, 0, 1, 0]);
        if !self.share(n)? { return self.jump(1, again) }
        if !self.share(o)? { self.dec(n)?; return self.jump(1, again) }
        let listed = if o == NIL { n } else { o };
        let removed = self.op(&format!("passer-by reads mark n{listed}"), |m| m.at(t, listed).mark as u32)? == 1;
        if removed { self.dec(n)?; self.dec(o)?; return self.jump(1, again) }
        let r = self.op(&format!("relieve n{n} of lease {l}"), |m| {
            let w = &mut m.at(t, n).w;
            if w.tag != COMP || w.lease != l { return 0 }
            w.lease += 1; let r = w.lease as u32;
            m.begin_load(t, n); r
        })? as u8;
        if r == 0 { self.dec(n)?; self.dec(o)?; return self.jump(1, again) }
        self.now(|m| m.unpin(t));
        self.jump(2, [n, o, r, 1, 0])
    }
    fn park(&mut self, n: u8, o: u8, l: u8, wait: u8, used: u8) -> R<()> {
        let (t, f) = (self.t, self.f);
        let br = self.opn(2, &format!("parked on n{n}: 0 = woken, 1 = deadline"), |m, b| match b {
            0 => (m.notified >> t & 1 == 1).then_some(0),
            _ => (wait == b't' || (wait == b'k' && used == 0)).then_some(1),
        })?;
        if br == 0 { return self.jump(4, [n, o, l, used, 0]) }
        if wait == b'k' {
            let listed = if o == NIL { n } else { o };
            let removed = self.op(&format!("overdue waiter reads mark n{listed}"), |m| m.at(t, listed).mark as u32)? == 1;
            if removed && f.removed_ends {
                let ends = self.op(&format!("end n{n} (waited for lease {l}): COMPUTING -> DEAD"), |m| {
                    let w = &mut m.at(t, n).w;
                    if w.tag != COMP || w.lease != l { return 0 }
                    w.tag = DEAD; 1
                })?;
                if ends == 0 { return self.jump(4, [n, o, l, 1, 0]) }
                if o == NIL { self.now(|m| m.pin(t)); self.remove(n)?; } else { self.o_back(o, n)? }
                self.op(&format!("ring n{n}"), |m| { m.ring(t, n); 0 })?;
                self.dec(n)?; self.dec(o)?; return self.jump(1, [0, 0, 0, 1, 0]);
            }
            let r = self.op(&format!("take over n{n} (waited for lease {l})"), |m| {
                let w = &mut m.at(t, n).w;
                if w.tag != COMP || (f.own_lease && w.lease != l) { return 0 }
                let other = w.lease != l;
                w.lease += 1; w.waiters -= 1; let r = w.lease as u32;
                if other { m.fail("law 3: a lease is taken over by a waiter that timed out on an earlier one") }
                if removed { m.fail("a waiter loads for itself what was removed before it looked") }
                m.begin_load(t, n); r
            })? as u8;
            return if r == 0 { self.jump(4, [n, o, l, 1, 0]) } else { self.jump(2, [n, o, r, 1, 0]) };
        }
        if o != NIL && !f.end_first { let w = self.word(n)?; if tag(w) == EMPTY && waiters(w) == 1 { self.o_back(o, n)? } }
        let r = self.op(&format!("leave n{n}"), |m| {
            let w = &mut m.at(t, n).w; let r = w.pack(false);
            if (w.tag == COMP || w.tag == EMPTY) && w.waiters == 0 { m.fail("waiter count below zero"); return r }
            if w.tag == COMP || w.tag == EMPTY { w.waiters -= 1; if w.tag == EMPTY && w.waiters == 0 { w.tag = DEAD; return DEAD as u32 } } r
        })?;
        if r == DEAD as u32 {
            if o == NIL { self.now(|m| m.pin(t)); self.remove(n)?; } else if f.end_first { self.o_back(o, n)? }
        }
        self.dec(n)?; self.dec(o)?; self.finish()
    }
    fn recheck(&mut self, n: u8, o: u8, l: u8, used: u8) -> R<()> {
        let (t, f) = (self.t, self.f);
        self.op(&format!("listen n{n}"), |m| { m.notified &= !(1 << t); m.at(t, n).listening |= 1 << t; 0 })?;
        let listed = if o == NIL { n } else { o };
        let removed = self.op(&format!("waiter reads mark n{listed}"), |m| m.at(t, listed).mark as u32)? == 1;
        let r = self.op(&format!("re-check n{n}, claim or end if EMPTY"), |m| {
            let x = m.at(t, n);
            if x.w.tag == EMPTY && removed && f.removed_ends { x.w.tag = DEAD; return END }
            if x.w.tag == EMPTY && removed { m.fail("a waiter loads for itself what was removed before it looked") }
            claim(m, t, n, f, 1)
        })?;
        if r == END {
            if o == NIL { self.now(|m| m.pin(t)); self.remove(n)?; } else { self.o_back(o, n)? }
            self.op(&format!("ring n{n}"), |m| { m.ring(t, n); 0 })?;
            self.dec(n)?; self.dec(o)?; return self.jump(1, [0, 0, 0, used, 0]);
        }
        match tag(r) {
            COMP | PUB => self.jump(3, [n, o, if tag(r) == COMP { lease(r) } else { l }, used, 0]),
            EMPTY => { self.now(|m| { m.n[n as usize].listening &= !(1 << t) }); self.jump(2, [n, o, lease(r), used, 0]) }
            x if valued(x) && (x != CLOSED || f.closed_val) => {
                self.op(&format!("waiter takes n{n}"), |m| { if !m.at(t, n).val { m.fail("law 2: waiter answered with an empty slot") } 0 })?;
                self.dec(n)?; self.dec(o)?; self.finish()
            }
            FAILED => { self.dec(n)?; self.dec(o)?; self.finish() }
            x => { if x == CLOSED { self.now(|m| m.fail("law 2: a waiter whose flight published is sent to look again")) } self.dec(n)?; self.dec(o)?; self.jump(1, [0, 0, 0, used, 0]) }
        }
    }
    fn lead(&mut self, n: u8, o: u8, l: u8, end: u8) -> R<()> {
        let (t, f) = (self.t, self.f);
        let mut seated = false;
        let ended = |m: &mut Mem| { let x = &mut m.n[n as usize]; if x.w.tag == COMP && x.w.lease == l { x.load = false } }; // ghost: this load returned nothing
        if end == b'o' || end == b'z' {
            let zero = end == b'z';
            let ok = self.op(&format!("publish n{n} lease {l}: COMPUTING -> PUBLISHING"), |m| { let x = m.at(t, n); if x.w.tag == COMP && x.w.lease == l { x.w.tag = PUB; if x.own != t as u8 { m.fail("law 3: a fenced leader wins the CAS into PUBLISHING") } 1 } else { 0 } })?;
            if ok == 0 { self.dec(n)?; self.dec(o)?; return self.finish() }
            self.op(&format!("write value n{n}"), |m| { let x = m.at(t, n); let bad = x.val || x.w.tag != PUB || x.own != t as u8 || x.retired; x.val = true; x.stale = zero; if zero { x.weight = 0 } if bad { m.fail("law 3: slot written twice or by a fenced leader") } 0 })?;
            let mut adds = !(zero && f.zero_w);
            if f.zero_w && !zero && o == NIL && self.op(&format!("publisher reads mark n{n}"), |m| { let x = m.at(t, n); if x.mark { x.weight = 0 } x.lin = true; x.mark as u32 })? == 1 { adds = false }
            if adds { self.op("weight += 1", |m| { m.weight += 1; 0 })?; }
            if zero && o == NIL { self.now(|m| m.pin(t)); self.remove(n)?; }
            let g = self.op(&format!("n{n}: PUBLISHING -> READY"), |m| { let x = m.at(t, n); x.w.tag = READY; let g = x.w.gone; x.load &= o != NIL; if !g && o == NIL && adds && !zero { m.store(n) } m.pin(t); g as u32 })?;
            let mut stored = g == 0 && o == NIL && !zero && adds;
            if g == 1 && adds { self.op("weight -= 1 (found GONE)", |m| { m.weight -= 1; 0 })?; }
            if o != NIL && zero { self.remove(o)?; }
            if o != NIL && !zero {
                stored = self.op(&format!("swap n{o} for n{n}"), |m| {
                    let x = *m.at(t, o);
                    if x.mark { m.n[n as usize].load = false; return 0 }
                    m.n[n as usize].next = x.next; m.n[n as usize].count += 1;
                    let y = &mut m.n[o as usize]; y.next = n; y.mark = true; m.store(n); 1
                })? == 1;
                if stored { self.now(|m| m.n[o as usize].removed = true); self.gone(o)?; self.unlink(o)?; }
            }
            if !stored && g == 0 && o != NIL && f.lost_swap && adds { self.op("weight -= 1 (only handed over)", |m| { m.weight -= 1; 0 })?; }
            self.op(&format!("ring n{n}"), |m| { m.ring(t, n); 0 })?;
            seated = stored;
            if stored { let held = self.seat(n, o)?; if o != NIL { let held = held || self.clear_slot(o)?; self.let_go(o, held)? } }
        } else if end == b'n' && o != NIL {
            let ok = self.op(&format!("renew n{o} by n{n} lease {l}: COMPUTING -> PUBLISHING"), |m| { let x = m.at(t, n); if x.w.tag == COMP && x.w.lease == l { x.w.tag = PUB; if x.own != t as u8 { m.fail("law 3: a fenced leader renews") } 1 } else { 0 } })?;
            if ok == 1 {
                self.op(&format!("n{o}: expires later"), |m| { m.at(t, o).stale = false; 0 })?;
                self.op(&format!("n{n}: PUBLISHING -> DEAD"), |m| { let x = m.at(t, n); x.w.tag = DEAD; x.load = false; 0 })?;
                self.o_back(o, n)?;
                self.op(&format!("ring n{n}"), |m| { m.ring(t, n); 0 })?;
            }
        } else if end == b'x' {
            let ok = self.op(&format!("keep the failure of n{n} lease {l}: COMPUTING -> PUBLISHING"), |m| { let x = m.at(t, n); if x.w.tag == COMP && x.w.lease == l { x.w.tag = PUB; if x.own != t as u8 { m.fail("law 3: a fenced leader keeps its failure") } m.pin(t); 1 } else { 0 } })?;
            if ok == 1 {
                let first = o != NIL && !f.failed_last;
                self.op(&format!("weight += 1, n{n} weighs 1"), |m| { m.weight += 1; m.at(t, n).kept = true; 0 })?;
                if first { self.op(&format!("n{n}: PUBLISHING -> FAILED"), |m| { m.at(t, n).w.tag = FAILED; 0 })?; }
                let listed = if o == NIL { self.op(&format!("leader reads mark n{n}"), |m| { let ok = !m.at(t, n).mark; if ok { m.keep(n) } ok as u32 })? } else {
                    self.op(&format!("swap n{o} for n{n}"), |m| {
                        let x = *m.at(t, o);
                        if x.mark { m.n[n as usize].load = false; return 0 }
                        let y = &mut m.n[n as usize]; y.next = x.next; y.count += 1; y.par = NIL; y.load &= !first;
                        let y = &mut m.n[o as usize]; y.next = n; y.mark = true; y.removed = true; m.keep(n); 1
                    })?
                } == 1;
                if listed && o != NIL { self.gone(o)?; let held = self.install(n, o)? || self.clear_slot(o)?; self.unlink(o)?; self.let_go(o, held)? }
                if !listed && f.lost_back { self.op(&format!("weight -= 1, n{n} weighs 0 (only told)"), |m| { m.weight -= 1; m.at(t, n).kept = false; 0 })?; }
                let g = !first && self.op(&format!("n{n}: PUBLISHING -> FAILED"), |m| {
                    let x = m.at(t, n); x.w.tag = FAILED; x.load = false; x.w.gone as u32
                })? == 1;
                if g && listed && f.gone_back { self.op("weight -= 1 (found GONE)", |m| { m.weight -= 1; 0 })?; }
                if !g && listed && o == NIL { self.install(n, NIL)?; }
                if !listed { self.o_back(o, n)? }
                self.op(&format!("ring n{n}"), |m| { m.ring(t, n); 0 })?;
            }
        } else if end == b'd' && o != NIL {
            let ok = self.op(&format!("n{n} lease {l} is told absent: COMPUTING -> PUBLISHING"), |m| { let x = m.at(t, n); if x.w.tag == COMP && x.w.lease == l { x.w.tag = PUB; x.load = false; if x.own != t as u8 { m.fail("law 3: a fenced leader tells its answer") } m.pin(t); 1 } else { 0 } })?;
            if ok == 1 {
                self.remove(o)?;
                self.op(&format!("n{n}: PUBLISHING -> FAILED"), |m| { m.at(t, n).w.tag = FAILED; 0 })?;
                self.o_back(o, n)?;
                self.op(&format!("ring n{n}"), |m| { m.ring(t, n); 0 })?;
            }
        } else if end == b'f' || end == b'd' {
            if !f.end_first { self.o_back(o, n)?; self.now(ended) }
            let ok = self.op(&format!("fail n{n} lease {l}"), |m| { let x = m.at(t, n); if x.w.tag == COMP && x.w.lease == l { x.w.tag = FAILED; x.load = false; if x.own != t as u8 { m.fail("law 3: a fenced leader fails its successor's flight") } 1 } else { 0 } })?;
            if ok == 1 {
                if f.end_first { self.o_back(o, n)? }
                if o == NIL { self.now(|m| m.pin(t)); self.remove(n)?; }
                self.op(&format!("ring n{n}"), |m| { m.ring(t, n); 0 })?;
            }
        } else {
            let um = self.op("node and O unmarked?", |m| { let at = if o == NIL { n } else { o }; !m.at(t, at).mark as u32 })? == 1;
            self.now(ended);
            if o != NIL && !f.end_first { let w = self.word(n)?; if lease(w) == l && (waiters(w) == 0 || !um) { self.o_back(o, n)? } }
            let r = self.op(&format!("give up n{n} lease {l}"), |m| {
                let x = m.at(t, n);
                if x.w.tag != COMP || x.w.lease != l { return NIL as u32 }
                x.load = false; x.w.tag = if x.w.waiters > 0 && um { EMPTY } else { DEAD }; x.w.tag as u32
            })? as u8;
            if r == DEAD {
                if o == NIL { self.now(|m| m.pin(t)); self.remove(n)?; } else if f.end_first { self.o_back(o, n)? }
            }
            if r != NIL { self.op(&format!("ring n{n}"), |m| { m.ring(t, n); 0 })?; }
        }
        if !seated { self.dec(n)? }
        self.dec(o)?; self.finish()
    }
    fn peek(&mut self) -> R<()> {
        let c = self.find(false)?;
        if c == NIL { return self.finish() }
        let w = self.word(c)?;
        if tag(w) == REFR && stale(w) {
            let ws = self.word(succ(w))?;
            if valued(tag(ws)) && !stale(ws) { self.take(succ(w))? }
        } else if (tag(w) == READY || tag(w) == REFR) && !stale(w) { self.take(c)? }
        self.finish()
    }
    fn invalidate(&mut self) -> R<()> {
        let (t, c) = (self.t, self.find(true)?);
        if c != NIL && !self.remove(c)? && self.f.retry_mark { return self.jump(1, [0; 5]) }
        self.op("invalidate returns", |m| { m.taint |= m.inv[t]; 0 })?;
        self.finish()
    }
    fn insert(&mut self) -> R<()> {
        let t = self.t;
        if self.th.label == 0 { self.op("insert: weight += 1", |m| { m.weight += 1; m.inv[t] = m.began_set(); 0 })?; return self.jump(1, [0; 5]) }
        let c = self.find(true)?;
        let n = self.op(&format!("link new READY in place of n{c}"), |m| {
            let ok = if c == NIL { m.head == NIL } else { !m.at(t, c).mark };
            if !ok { return NIL as u32 }
            let n = m.alloc(READY, 1, NIL);
            let x = &mut m.n[n as usize]; x.val = true; x.stored = true;
            if c == NIL { m.head = n } else { let s = m.n[c as usize].next; m.n[n as usize].next = s; let y = &mut m.n[c as usize]; y.next = n; y.mark = true; y.removed = true }
            n as u32
        })? as u8;
        if n == NIL { return self.jump(1, [0; 5]) }
        if c != NIL { self.gone(c)?; self.unlink(c)?; }
        let held = self.install(n, c)?;
        if c != NIL { let held = held || self.clear_slot(c)?; self.let_go(c, held)? }
        self.op("insert returns", |m| { m.taint |= m.inv[t]; m.n[n as usize].began = true; 0 })?;
        self.finish()
    }
    fn hand(&mut self) -> R<()> {
        let t = self.t;
        let c = self.opn(N as u8 + 1, "hand picks a slot", |m, b| { if b as usize == N { return Some(NIL as u32) } let c = m.slots[b as usize]; if c == NIL { None } else { m.pin(t); Some(c as u32) } })? as u8;
        if c == NIL { return self.finish() }
        self.close(c)
    }
    fn close(&mut self, c: u8) -> R<()> {
        let t = self.t;
        let ok = self.op(&format!("close n{c}"), |m| { let w = &mut m.at(t, c).w; if w.tag == READY && !w.gone { w.tag = CLOSED; 1 } else if w.tag == EMPTY { w.tag = DEAD; 2 } else { 0 } })?;
        if ok > 0 || (tag(self.word(c)?) == FAILED) { self.remove(c)?; }
        if ok == 2 { self.op(&format!("ring n{c}"), |m| { m.ring(t, c); 0 })?; }
        self.finish()
    }
    fn purge(&mut self) -> R<()> {
        let c = self.find(true)?;
        if c == NIL { return self.finish() }
        let w = self.word(c)?;
        if tag(w) == EMPTY || (tag(w) == READY && stale(w)) { return self.close(c) }
        if tag(w) == FAILED && self.opn(2, &format!("failure n{c}: 0 = leave it, 1 = its time is over"), |_, b| Some(b as u32))? == 1 { self.remove(c)?; }
        if tag(w) == REFR && self.f.sweep_s {
            let (s, t) = (succ(w), self.t);
            if !self.share(s)? { return self.finish() }
            let ok = self.op(&format!("sweep n{s}: EMPTY -> DEAD"), |m| { let w = &mut m.at(t, s).w; if w.tag == EMPTY { w.tag = DEAD; 1 } else { 0 } })?;
            if ok == 1 { self.o_back(c, s)?; self.op(&format!("ring n{s}"), |m| { m.ring(t, s); 0 })?; }
            self.dec(s)?;
        }
        self.finish()
    }
    fn run(&mut self, k: &str) -> R<()> {
        let b = k.as_bytes();
        match b[0] {
            b'G' => self.get(b[1], b[2], b.len() > 3), b'P' => self.peek(), b'I' => self.invalidate(), b'S' => self.insert(), b'H' => self.hand(), b'U' => self.purge(),
            _ => { self.op("time passes: all values expire", |m| { for x in m.n.iter_mut() { if x.val { x.stale = true } } 0 })?; self.finish() }
        }
    }
}
/// RMW: EMPTY -> COMPUTING with the next lease; returns the old tag with, if EMPTY, the lease won. `was` = 1 for a counted waiter.
fn claim(m: &mut Mem, t: usize, n: u8, f: Fix, was: u8) -> u32 {
    let x = m.at(t, n);
    if x.w.tag != EMPTY { return x.w.pack(x.stale) }
    x.w.lease = if f.keep_lease { x.w.lease + 1 } else { 1 };
    x.w.waiters -= was; x.w.tag = COMP;
    let l = x.w.lease; m.begin_load(t, n);
    EMPTY as u32 | (l as u32) << 4
}

fn everywhere(m: &Mem) -> Option<&'static str> {
    if m.err.is_some() { return m.err }
    if m.weight < 0 { return Some("law 7: weight below zero") }
    let r = m.reach();
    if r.iter().any(|&c| m.n[c as usize].count <= 0) { return Some("law 7: reachable node with zero count") }
    if r.iter().filter(|&&c| !m.n[c as usize].mark).count() > 1 { return Some("two unmarked nodes of one key") }
    None
}
fn quiescent(m: &Mem) -> Option<&'static str> {
    let (r, mut sum) = (m.reach(), 0);
    for i in 0..m.nn as usize {
        let (x, inl) = (&m.n[i], r.contains(&(i as u8)));
        let ins = m.slots.iter().filter(|&&s| s == i as u8).count() as i8;
        if inl && x.mark { return Some("marked node left in the list") }
        if inl && x.w.tag != READY && !(x.w.tag == FAILED && x.kept) { return Some("node left in the list that is not READY and has no owner") }
        if !inl && ins > 0 { return Some("law 7: slot keeps a removed node") }
        if x.count != inl as i8 + ins + x.left { return Some("law 7: a share is lost") }
        if x.count == x.left && !x.retired { return Some("law 7: node never retired") }
        if inl { sum += x.weight; if ins == 0 { return Some("law 7: stored entry without a slot (never evictable)") } }
        if x.stored && !inl && x.listened != 1 { return Some("listener not called for a stored-then-removed value") }
        if (inl || !x.stored) && x.listened != 0 { return Some("listener called for a value still stored, or never stored") }
    }
    if sum != m.weight { return Some("law 7: weight differs from the stored sum at quiescence") }
    None
}

fn step(s: &State, sc: &[Vec<String>], t: usize, br: u8, f: Fix) -> (Option<(State, String)>, u8) {
    let mut x = s.clone(); let mut th = std::mem::take(&mut x.th[t]);
    let k = sc[t][th.pc as usize].clone();
    let (blocked, nbr, log) = { let mut cx = Cx { m: &mut x.m, th: &mut th, t, f, i: 0, br, nbr: 1, fresh: false, blocked: false, log: String::new() }; let _ = cx.run(&k); (cx.blocked, cx.nbr, cx.log) };
    if blocked { return (None, nbr) }
    th.done = th.pc as usize == sc[t].len();
    x.th[t] = th;
    (Some((x, log)), nbr)
}
fn initial(init: &str, nt: usize) -> State {
    let mut m = Mem { n: [BLANK; N], nn: 0, head: NIL, slots: [NIL; N], weight: 0, pinned: 0, notified: 0, taint: 0, bad: [0; T], inv: [0; T], err: None };
    if init != "none" {
        let n = m.alloc(READY, 2, NIL);
        m.n[0] = Node { val: true, stale: init == "stale", stored: true, began: true, slot: 0, ..m.n[0] };
        m.head = n; m.slots[0] = n; m.weight = 1;
    }
    State { m, th: vec![Th::default(); nt] }
}
fn key(s: &State) -> u128 {
    let mut h = Two(1, 2); s.hash(&mut h);
    (h.0 as u128) << 64 | (h.0.rotate_left(29) ^ h.1) as u128
}
struct Two(u64, u64);
impl Two { fn mix(&mut self, v: u64) { self.0 = (self.0 ^ v).wrapping_mul(0x9E37_79B9_7F4A_7C15); self.0 ^= self.0 >> 29; self.1 = (self.1.rotate_left(5) ^ v).wrapping_mul(0xD6E8_FEB8_6659_FD93); self.1 ^= self.1 >> 32 } }
impl Hasher for Two {
    fn finish(&self) -> u64 { self.0 }
    fn write(&mut self, b: &[u8]) { for c in b.chunks(8) { let mut x = [0; 8]; x[..c.len()].copy_from_slice(c); self.mix(u64::from_le_bytes(x)) } }
    fn write_u8(&mut self, v: u8) { self.mix(v as u64) }
    fn write_u32(&mut self, v: u32) { self.mix(v as u64) }
    fn write_usize(&mut self, v: usize) { self.mix(v as u64) }
}
/// Breadth first, so that a counterexample is a shortest one. Ok(states) or Err(text).
fn check(init: &str, script: &str, f: Fix, limit: usize, verbose: bool) -> Result<usize, String> {
    let sc: Vec<Vec<String>> = script.split('|').map(|t| t.split(',').map(|k| k.trim().to_string()).collect()).collect();
    let s0 = initial(init, sc.len());
    let mut seen: HashMap<u128, u32> = HashMap::new();
    seen.insert(key(&s0), 0);
    let (mut parent, mut edges, mut good): (Vec<(u32, u8, u8)>, Vec<(u32, u32)>, Vec<u32>) = (vec![(0, 0, 0)], vec![], vec![]);
    let mut layer = vec![(s0, 0u32)];
    let trace = |parent: &Vec<(u32, u8, u8)>, mut i: u32, e: &str| {
        let mut p = vec![];
        while i != 0 { let (q, t, b) = parent[i as usize]; p.push((t, b)); i = q }
        let (mut s, mut out) = (initial(init, sc.len()), format!("VIOLATION {e}  [{init}: {script}] in {} steps", p.len()));
        for (t, b) in p.into_iter().rev() { let (n, log) = step(&s, &sc, t as usize, b, f).0.unwrap(); s = n; if verbose { out += "\n    "; out += &log } }
        out
    };
    while !layer.is_empty() {
        let mut nextl = vec![];
        for (s, i) in layer {
            let mut moved = false;
            for t in 0..sc.len() {
                if s.th[t].done { continue }
                let (mut b, mut nbr) = (0, 1);
                while b < nbr {
                    let (r, k) = step(&s, &sc, t, b, f);
                    nbr = k;
                    if let Some((x, _)) = r {
                        moved = true;
                        let h = key(&x);
                        let j = match seen.get(&h) { Some(&j) => j, None => {
                            let j = parent.len() as u32;
                            seen.insert(h, j); parent.push((i, t as u8, b));
                            if let Some(e) = everywhere(&x.m) { return Err(trace(&parent, j, e)) }
                            nextl.push((x, j)); j } };
                        edges.push((j, i));
                    }
                    b += 1;
                }
            }
            if !moved {
                if s.th.iter().any(|t| !t.done) { return Err(trace(&parent, i, "law 2: a thread is parked for ever")) }
                if let Some(e) = quiescent(&s.m) { return Err(trace(&parent, i, e)) }
                good.push(i);
            }
        }
        if parent.len() > limit { return Err(format!("LIMIT of {limit} states passed without a violation [{init}: {script}]")) }
        layer = nextl;
    }
    // every state can still reach quiescence
    edges.sort_unstable();
    let mut ok = vec![false; parent.len()];
    for &g in &good { ok[g as usize] = true }
    while let Some(g) = good.pop() {
        let a = edges.partition_point(|e| e.0 < g);
        for e in edges[a..].iter().take_while(|e| e.0 == g) { if !ok[e.1 as usize] { ok[e.1 as usize] = true; good.push(e.1) } }
    }
    if let Some(i) = ok.iter().position(|o| !o) { return Err(trace(&parent, i as u32, "law 2: live-lock, quiescence out of reach")) }
    Ok(parent.len())
}
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let on = |c: char| a.get(1).map_or(false, |s| s == "all" || s.contains(c));
    let f = Fix { end_first: on('e'), keep_lease: on('k'), lost_swap: on('w'), retry_mark: on('r'), own_lease: on('o'), closed_val: on('c'), zero_w: on('z'), sweep_s: on('s'), failed_last: on('f'), gone_back: on('g'), lost_back: on('l'), removed_ends: on('d') };
    let limit: usize = a.get(2).and_then(|s| s.parse().ok()).unwrap_or(3_000_000);
    if a.len() > 4 { match check(&a[3], &a[4], f, limit, true) { Ok(n) => println!("pass {n} [{}: {}]", a[3], a[4]), Err(e) => println!("{e}") } return }
    let (pat, mut total) = (a.get(3).cloned().unwrap_or_default(), 0);
    for line in include_str!("scripts.txt").lines().filter(|l| !l.is_empty() && !l.starts_with('#') && l.contains(&pat)) {
        let (i, s) = line.trim_start_matches('+').split_once(':').unwrap();
        match check(i.trim(), s.trim(), f, limit, false) { Ok(n) => { total += n; println!("pass {n:>9}  {i}: {}", s.trim()) } Err(e) => println!("{e}") }
    }
    println!("{f:?}: {total} states in passing scripts");
}
