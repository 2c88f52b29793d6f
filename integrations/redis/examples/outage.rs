//! A server that is stopped, killed and started again, under load: what callers get meanwhile,
//! drawn into `target/outage.svg`.
//!
//! ```sh
//! cargo run --release -p bellwether-redis --example outage
//! ```

mod support;

use bellwether_redis::{LinkState, Source, Tier};
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::Server;

/// How many tiers there are, each as a process of its own would be.
const TIERS: usize = 3;
const KEYS: u64 = 20;
const STEP: Duration = Duration::from_millis(50);

/// What was counted in one step of time.
#[derive(Clone, Copy, Default)]
struct Sample {
    memory: u64,
    shared: u64,
    loads: u64,
    slowest: Duration,
    links: usize,
}

#[derive(Default)]
struct Counts {
    memory: AtomicU64,
    shared: AtomicU64,
    loads: AtomicU64,
    slowest: AtomicU64,
    errors: AtomicU64,
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(show());
}

async fn caller(tier: Tier<u64, u64>, counts: Arc<Counts>, over: Arc<AtomicBool>) {
    while !over.load(SeqCst) {
        let (key, began) = (fastrand::u64(..KEYS), Instant::now());
        let load = || async {
            counts.loads.fetch_add(1, SeqCst);
            tokio::time::sleep(Duration::from_millis(10)).await;
            Ok::<_, String>(key)
        };
        match tier.entry(&key).try_get_with_async(load).await {
            Ok(answer) if answer.source == Source::Memory => counts.memory.fetch_add(1, SeqCst),
            Ok(_) => counts.shared.fetch_add(1, SeqCst),
            Err(_) => counts.errors.fetch_add(1, SeqCst),
        };
        counts.slowest.fetch_max(began.elapsed().as_micros() as u64, SeqCst);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn show() {
    let Some(mut server) = Server::start() else { return };
    let (counts, over) = (Arc::new(Counts::default()), Arc::new(AtomicBool::new(false)));
    let (mut tiers, mut tasks) = (Vec::new(), Vec::new());
    for _ in 0..TIERS {
        let tier = Tier::<u64, u64>::builder(&server.url()).unwrap().time_to_live(Duration::from_secs(2));
        let tier = tier.unlinked_ttl(Duration::from_millis(500)).build().await.unwrap();
        for _ in 0..4 {
            tasks.push(tokio::spawn(caller(tier.clone(), counts.clone(), over.clone())));
        }
        tiers.push(tier);
    }
    let samples = Arc::new(Mutex::new(Vec::new()));
    let (list, sampled, ended) = (samples.clone(), counts.clone(), over.clone());
    let sampler = tokio::spawn(async move {
        while !ended.load(SeqCst) {
            tokio::time::sleep(STEP).await;
            let links = tiers.iter().filter(|tier| matches!(tier.link(), LinkState::Up { .. })).count();
            list.lock().unwrap().push(Sample {
                memory: sampled.memory.swap(0, SeqCst),
                shared: sampled.shared.swap(0, SeqCst),
                loads: sampled.loads.swap(0, SeqCst),
                slowest: Duration::from_micros(sampled.slowest.swap(0, SeqCst)),
                links,
            });
        }
    });
    let mut marks = Vec::new();
    let mut mark = |what: &'static str| marks.push((samples.lock().unwrap().len(), what));
    let rest = |seconds| tokio::time::sleep(Duration::from_secs_f64(seconds));
    rest(2.0).await;
    mark("stopped");
    server.pause(true);
    rest(2.0).await;
    mark("goes on");
    server.pause(false);
    rest(2.0).await;
    mark("killed");
    server.kill();
    rest(2.0).await;
    mark("started, empty");
    server.run();
    rest(3.0).await;
    over.store(true, SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    sampler.await.unwrap();
    let samples = samples.lock().unwrap();
    let total = |of: fn(&Sample) -> u64| samples.iter().map(of).sum::<u64>();
    println!("{TIERS} processes, {KEYS} keys, a time to live of 2 s, loads of 10 ms");
    println!("{} answers from memory, {} from elsewhere", total(|s| s.memory), total(|s| s.shared));
    println!("{} loads, {} errors", total(|s| s.loads), counts.errors.load(SeqCst));
    println!("the slowest answer took {:?}", samples.iter().map(|s| s.slowest).max().unwrap());
    assert_eq!(counts.errors.load(SeqCst), 0, "no caller hears of the server's troubles");
    std::fs::create_dir_all("target").unwrap();
    std::fs::write("target/outage.svg", draw(&samples, &marks)).unwrap();
    println!("drawn into target/outage.svg");
}

/// Draws answers, loads and links over time.
fn draw(samples: &[Sample], marks: &[(usize, &str)]) -> String {
    let (width, height) = (960.0, 420.0);
    let x = |step: usize| 60.0 + (width - 80.0) * step as f64 / samples.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\"><rect width=\"100%\" height=\"100%\" fill=\"white\"/>"
    );
    let mut band = |name: &str, top: f64, color: &str, of: &dyn Fn(&Sample) -> f64| {
        let most = samples.iter().map(of).fold(1.0, f64::max);
        let _ = write!(svg, "<text x=\"60\" y=\"{}\">{name} (at most {most:.0})</text>", top - 6.0);
        let mut path = format!("M{:.1},{:.1}", x(0), top + 80.0);
        for (step, sample) in samples.iter().enumerate() {
            let y = top + 80.0 - 80.0 * of(sample) / most;
            let _ = write!(path, "L{:.1},{y:.1}L{:.1},{y:.1}", x(step), x(step + 1));
        }
        let _ = write!(svg, "<path d=\"{path}L{:.1},{:.1}Z\" fill=\"{color}\"/>", x(samples.len()), top + 80.0);
    };
    band("answers from memory, each 50 ms", 50.0, "#4a7ebb", &|s| s.memory as f64);
    band("loads, each 50 ms", 160.0, "#c0504d", &|s| s.loads as f64);
    band("slowest answer, ms", 270.0, "#8064a2", &|s| s.slowest.as_secs_f64() * 1000.0);
    for (step, sample) in samples.iter().enumerate() {
        let color = ["#c0504d", "#f0ad4e", "#f0d54e", "#6aa84f"][sample.links.min(3)];
        let _ = write!(
            svg,
            "<rect x=\"{:.1}\" y=\"372\" width=\"{:.1}\" height=\"14\" fill=\"{color}\"/>",
            x(step),
            x(step + 1) - x(step) + 0.3
        );
    }
    let _ = write!(svg, "<text x=\"60\" y=\"402\">links up: green all, red none</text>");
    for &(step, what) in marks {
        let at = x(step);
        let _ = write!(
            svg,
            "<line x1=\"{at:.1}\" y1=\"18\" x2=\"{at:.1}\" y2=\"390\" stroke=\"black\" stroke-dasharray=\"3\"/>\
             <text x=\"{:.1}\" y=\"16\">server {what}</text>",
            at + 3.0
        );
    }
    svg + "</svg>\n"
}
