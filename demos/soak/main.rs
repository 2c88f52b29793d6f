//! Everything at once, for as long as you like, with the laws checked all the time:
//! `cargo run --release --example soak -- --minutes 10`.
//!
//! Threads and tasks read, load, write, invalidate, expire and resize three caches at random; loads fail, panic, are dropped and
//! hang. Each second or so all come to rest, and what must be true then is checked, too. The exit code is 1 if a law was broken.

mod ledger;
mod memory;
mod pasture;
mod report;
mod task;
mod thread;
mod value;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use ledger::Fault;
use memory::Memory;
use pasture::Pasture;
use std::error::Error;
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};
use thread::Round;
use tokio::runtime::Runtime;
use value::Census;

/// How long all are at work between two rests.
const ROUND: Duration = Duration::from_secs(1);
/// Who has not come to rest by then waits for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lets threads and tasks do everything there is to caches, and checks the laws meanwhile.
#[derive(Debug, Parser)]
#[command(name = "soak")]
struct Args {
    /// How long; fractions are allowed
    #[arg(long, value_name = "N", default_value = "1", value_parser = minutes)]
    minutes: Duration,

    /// What the choices at random begin with (the threads' turns are the system's all the same)
    #[arg(long, value_name = "N", default_value = "1")]
    seed: u64,

    /// Threads, and twice as many tasks
    #[arg(long, value_name = "N", default_value = "6", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
}

fn minutes(text: &str) -> Result<Duration, String> {
    let minutes: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    Duration::try_from_secs_f64(minutes * 60.0).map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A soak under way.
struct Soak<'a> {
    args: &'a Args,
    start: Instant,
    pastures: Vec<Arc<Pasture>>,
    census: Census,
    memory: Memory,
    rounds: u64,
    steps: u64,
    faults: Vec<Fault>,
    bar: ProgressBar,
}

fn run(args: &Args) -> Result<bool, Box<dyn Error>> {
    let (start, census) = (Instant::now(), Census::default());
    let pastures = pasture::pastures(start, 3 * u64::from(args.threads), args.seed, &census)?;
    let (memory, faults) = Default::default();
    let bar = progress(args.minutes)?;
    let mut soak = Soak { args, start, pastures, census, memory, rounds: 0, steps: 0, faults, bar };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build()?;
    // The first round is run whatever the time.
    while soak.rounds == 0 || start.elapsed() < args.minutes {
        soak.round(&runtime);
    }
    drop(runtime);
    soak.bar.finish_and_clear();
    Ok(soak.finish())
}

impl Soak<'_> {
    fn round(&mut self, runtime: &Runtime) {
        let round = Arc::new(Round::new(&self.pastures));
        let seed = |n: u64| self.args.seed ^ (self.rounds << 32) ^ (n << 16);
        let threads = u64::from(self.args.threads);
        let at_work: Vec<_> = (0..threads)
            .map(|n| (round.clone(), seed(n)))
            .map(|(round, seed)| std::thread::spawn(move || thread::work(&round, seed)))
            .collect();
        let tasks: Vec<_> =
            (0..2 * threads).map(|n| runtime.spawn(task::work(round.clone(), seed(threads + n)))).collect();
        let begun = Instant::now();
        while begun.elapsed() < ROUND && self.start.elapsed() < self.args.minutes {
            self.tell(&round);
        }
        round.over.store(true, SeqCst);
        let over = Instant::now();
        while !(at_work.iter().all(|t| t.is_finished()) && tasks.iter().all(|t| t.is_finished())) {
            self.tell(&round);
            if over.elapsed() > PATIENCE {
                self.hangs(
                    at_work.iter().filter(|t| !t.is_finished()).count(),
                    tasks.iter().filter(|t| !t.is_finished()).count(),
                );
            }
        }
        let died = at_work.into_iter().filter_map(|thread| thread.join().err()).count()
            + tasks.into_iter().filter_map(|task| runtime.block_on(task).err()).count();
        if died > 0 {
            self.pastures[0]
                .ledger
                .fault(format_args!("{died} threads and tasks died of a panic that nobody told them to"));
        }
        (self.rounds, self.steps) = (self.rounds + 1, self.steps + round.steps.load(SeqCst));
        self.rest();
    }

    /// What must be true while nobody is at work.
    fn rest(&mut self) {
        self.pastures.iter().for_each(|pasture| pasture.rest());
        pasture::count(&self.pastures, &self.census);
        self.memory.sample();
        self.collect();
    }

    fn collect(&mut self) {
        for fault in self.pastures.iter().flat_map(|pasture| pasture.ledger.take_faults()) {
            self.bar.suspend(|| eprintln!("soak: after {:.1} s: {}", fault.at.as_secs_f64(), fault.what));
            self.faults.push(fault);
        }
    }

    fn tell(&self, round: &Round) {
        std::thread::sleep(Duration::from_millis(20));
        let steps = self.steps + round.steps.load(SeqCst);
        let rate = steps as f64 / self.start.elapsed().as_secs_f64() / 1e6;
        let lapses: u64 = self.pastures.iter().map(|pasture| pasture.ledger.lapses.load(SeqCst)).sum();
        let resident = memory::resident().unwrap_or(0) >> 20;
        let (rounds, steps) = (self.rounds, steps as f64 / 1e6);
        let told = format!("{rounds} rounds, {steps:.1} M steps, {rate:.2} M/s, {resident} MiB, {lapses} broken laws");
        self.bar.set_position(self.start.elapsed().as_millis().min(self.args.minutes.as_millis()) as u64);
        self.bar.set_message(told);
    }

    /// A lost wake-up: whoever waits for it cannot be joined.
    fn hangs(&mut self, threads: usize, tasks: usize) -> ! {
        let what = format!("every waiter is answered: {threads} threads and {tasks} tasks wait for ever");
        self.pastures[0].ledger.fault(what);
        for pasture in &self.pastures {
            let keys: Vec<_> = (0..pasture::KEYS).filter(|key| pasture.cache.is_loading(key)).collect();
            self.bar.suspend(|| {
                eprintln!("soak: {}: in flight: {keys:?}; {:?}", pasture.cache.name(), pasture.cache.stats())
            });
        }
        self.collect();
        process::exit(1)
    }

    /// The caches go, with all that is in them. Whether all laws held.
    fn finish(mut self) -> bool {
        report::caches(&self.pastures);
        let flat = self.memory.thirds();
        if flat.as_ref().is_some_and(|thirds| !thirds.are_flat()) {
            self.pastures[0].ledger.fault("memory is not flat");
        }
        self.collect();
        let lapses: u64 = self.pastures.iter().map(|pasture| pasture.ledger.lapses.load(SeqCst)).sum();
        self.pastures.clear();
        let alive = self.census.load(SeqCst);
        report::run(&self, flat, lapses, alive);
        lapses == 0 && alive == 0
    }
}

/// A line with what was done so far. It draws nothing if standard error is not a terminal.
fn progress(time: Duration) -> Result<ProgressBar, Box<dyn Error>> {
    let style = ProgressStyle::with_template("   {elapsed_precise} [{bar:30}] {msg}")?;
    Ok(ProgressBar::new(time.as_millis() as u64).with_style(style))
}
