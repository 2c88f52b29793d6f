//! Running a scenario under many schedules, and telling whether it sees a bug.

use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Schedule, Scheduler, Task, TaskId};
use shuttle::{Config, MaxSteps, Runner};
use std::env;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// Schedules of each scenario, where nothing else is said.
const USUAL: usize = 1_000;
/// More steps than any scenario has: whoever takes so many gets nowhere.
const MOST_STEPS: usize = 200_000;
/// What the choices begin with, where shuttle's `SHUTTLE_RANDOM_SEED` says nothing else.
const SEED: u64 = 1;
/// Changes of priority in a schedule of PCT's.
const DEPTH: usize = 4;

/// Counts the steps, and wakes nobody by chance, unless it is told to.
///
/// Parked threads may wake by chance, and shuttle's do so often. That hides lost wake-ups.
struct Watched<S> {
    inner: S,
    by_chance: bool,
    steps: Arc<AtomicU64>,
}

impl<S: Scheduler> Scheduler for Watched<S> {
    fn new_execution(&mut self) -> Option<Schedule> {
        self.inner.new_execution()
    }

    fn next_task(&mut self, tasks: &[&Task], current: Option<TaskId>, is_yielding: bool) -> Option<TaskId> {
        self.steps.fetch_add(1, Relaxed);
        if self.by_chance {
            return self.inner.next_task(tasks, current, is_yielding);
        }
        let awake: Vec<&Task> = tasks.iter().copied().filter(|task| !task.blocked()).collect();
        self.inner.next_task(&awake, current, is_yielding)
    }

    fn next_u64(&mut self) -> u64 {
        self.inner.next_u64()
    }
}

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = 1 << 18;
    config.max_steps = MaxSteps::FailAfter(MOST_STEPS);
    config.silence_warnings = true;
    config
}

/// How many schedules of each scenario `BELLWETHER_SCHEDULES` asks for.
fn wanted() -> usize {
    let number = |text: String| text.parse().unwrap_or_else(|_| panic!("BELLWETHER_SCHEDULES is no number: {text}"));
    env::var("BELLWETHER_SCHEDULES").map_or(USUAL, number).max(3)
}

/// Runs `scenario` under as many schedules as are wanted: half of them random, a third of the others with wake-ups by chance, and
/// the rest chosen by PCT (few changes of priority). `BELLWETHER_REPLAY` has it run one schedule again, that a failure has printed.
pub fn schedules(scenario: fn()) {
    let name = std::thread::current().name().unwrap_or("?").to_owned();
    if let Ok(schedule) = env::var("BELLWETHER_REPLAY") {
        Runner::new(ReplayScheduler::new_from_encoded(schedule.trim()), config()).run(scenario);
        println!("scenario {name}: the schedule was replayed");
        return;
    }
    let (steps, begun, wanted) = (Arc::new(AtomicU64::new(0)), Instant::now(), wanted());
    let by_chance = wanted / 6;
    let pct = wanted / 2 - by_chance;
    let random = wanted - by_chance - pct;
    let mut run = 0;
    let inner = RandomScheduler::new_from_seed(SEED, random);
    run += Runner::new(Watched { inner, by_chance: false, steps: steps.clone() }, config()).run(scenario);
    let inner = PctScheduler::new_from_seed(SEED, DEPTH, pct);
    run += Runner::new(Watched { inner, by_chance: false, steps: steps.clone() }, config()).run(scenario);
    let inner = RandomScheduler::new_from_seed(SEED + 1, by_chance);
    run += Runner::new(Watched { inner, by_chance: true, steps: steps.clone() }, config()).run(scenario);
    let each = steps.load(Relaxed) / run as u64;
    println!("scenario {name}: {run} schedules, {each} steps each, {:.2?}", begun.elapsed());
}

/// Runs the scenario `name` of this test binary in a process of its own, with the bug `mutant` injected, and expects it to fail.
/// A child, because a bug may well end the process.
pub fn caught(name: &str, mutant: &str) {
    let exe = env::current_exe().expect("the path of the test binary");
    let begun = Instant::now();
    let mut child = Command::new(&exe);
    child.args(["--exact", name, "--nocapture", "--test-threads=1"]).env("BELLWETHER_MUTANT", mutant);
    // What a bug takes to show has nothing to do with how long a run is meant to be.
    child.env("BELLWETHER_SCHEDULES", "30000").env_remove("BELLWETHER_REPLAY");
    let out = child.output().expect("the test binary runs");
    let (stdout, stderr) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(stdout.contains("running 1 test"), "no scenario is named {name}:\n{stdout}{stderr}");
    assert!(!out.status.success(), "the scenario {name} does not see the bug «{mutant}»");
    let said = stderr.lines().skip_while(|l| !l.starts_with("thread ")).nth(1).unwrap_or("(the process ended)");
    println!("mutant «{mutant}» caught by {name} in {:.2?}: {said}", begun.elapsed());
}

/// For each scenario the bugs that it must see: one test a scenario, `bugs::` and its name.
#[macro_export]
macro_rules! bugs {
    ($($scenario:ident: $($mutant:literal),+;)*) => {
        mod bugs {
            $(#[test]
            fn $scenario() {
                let _exists = super::$scenario;
                $($crate::caught(stringify!($scenario), $mutant);)+
            })*
        }
    };
}
