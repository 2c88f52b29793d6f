//! Tasks without a runtime: polled by hand, run one after the other on this thread, or blocked on.

use super::{Answer, Broken, End, Key, Loader, TestCache, until};
use bellwether::Timer;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

/// Counts how often it was woken, and unparks a thread if it is one's.
#[derive(Default)]
pub struct Wakes {
    count: AtomicUsize,
    thread: Option<Thread>,
}

impl Wakes {
    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.count.fetch_add(1, Ordering::SeqCst);
        self.thread.iter().for_each(Thread::unpark);
    }
}

/// Runs a future on this thread, which sleeps while there is nothing to poll.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let wakes = Arc::new(Wakes { thread: Some(thread::current()), ..Wakes::default() });
    let waker = Waker::from(wakes.clone());
    loop {
        let seen = wakes.count();
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return done;
        }
        while wakes.count() == seen {
            thread::park();
        }
    }
}

/// A timer that only counts.
#[derive(Clone, Default)]
pub struct Alarms(pub Arc<AtomicUsize>);

impl Timer for Alarms {
    fn wake_at(&self, _: u64, _: Waker) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Pending once. Wakes itself.
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A load with this many await points, which is counted as it begins.
pub async fn slowly(loader: Loader, awaits: usize) -> Result<u64, Broken> {
    loader.calls.fetch_add(1, Ordering::SeqCst);
    for _ in 0..awaits {
        yield_now().await;
    }
    Loader { calls: Arc::default(), ..loader }.run()
}

/// A future and its waker. It is dropped once it has ended, by a panic too, as executors do.
pub struct Task<'t, T> {
    future: Option<Pin<Box<dyn Future<Output = T> + 't>>>,
    wakes: Arc<Wakes>,
    /// The wake-ups that a poll has answered; None before the first.
    seen: Option<usize>,
}

impl<'t, T> Task<'t, T> {
    pub fn new(future: impl Future<Output = T> + 't) -> Self {
        Self { future: Some(Box::pin(future)), wakes: Arc::default(), seen: None }
    }

    pub fn poll_by(&mut self, waker: &Waker) -> Option<T> {
        self.seen = Some(self.wakes.count());
        let future = self.future.as_mut().expect("it has not ended");
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut Context::from_waker(waker)))) {
            Ok(Poll::Pending) => None,
            Ok(Poll::Ready(done)) => {
                self.future = None;
                Some(done)
            }
            Err(panic) => {
                self.future = None;
                std::panic::resume_unwind(panic)
            }
        }
    }

    pub fn poll(&mut self) -> Option<T> {
        self.poll_by(&Waker::from(self.wakes.clone()))
    }

    /// Polls it, which must not end it.
    pub fn step(&mut self) {
        assert!(self.poll().is_none(), "it has ended already");
    }

    /// Whether it is to be polled: it was woken since the last time, or never polled.
    pub fn woken(&self) -> bool {
        self.seen.is_none_or(|seen| self.wakes.count() > seen)
    }

    pub fn wakes(&self) -> usize {
        self.wakes.count()
    }

    /// Runs it, and nothing else, to its end.
    pub fn finish(self) -> T {
        run(vec![self]).pop().unwrap()
    }

    /// The same for one that another thread wakes.
    pub fn finish_when_woken(mut self) -> T {
        loop {
            until("a wake-up", || self.woken());
            if let Some(done) = self.poll() {
                return done;
            }
        }
    }
}

/// Runs tasks to their end on this thread, polling only what is woken: a lost wake-up fails the test instead of hanging it.
pub fn run<T>(mut tasks: Vec<Task<'_, T>>) -> Vec<T> {
    let mut done: Vec<Option<T>> = tasks.iter().map(|_| None).collect();
    while done.iter().any(Option::is_none) {
        let mut polled = false;
        for (task, done) in tasks.iter_mut().zip(&mut done) {
            if done.is_none() && task.woken() {
                *done = task.poll();
                polled = true;
            }
        }
        assert!(polled, "a wake-up was lost: {} tasks sleep", done.iter().filter(|d| d.is_none()).count());
    }
    done.into_iter().flatten().collect()
}

/// Makes a panic an answer.
async fn caught(future: impl Future<Output = Answer>) -> Answer {
    let mut future = Box::pin(future);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(poll) => poll,
        Err(_) => Poll::Ready(Answer::Panicked),
    })
    .await
}

/// A caller as a task, by the fallible verb.
pub fn task<'t>(cache: &'t TestCache, key: Key, loader: &Loader, awaits: usize) -> Task<'t, Answer> {
    let loader = loader.clone();
    Task::new(caught(async move {
        match cache.try_get_with_async(&key, || slowly(loader, awaits)).await {
            Ok(value) => Answer::Value(value),
            Err(error) => Answer::Error(error),
        }
    }))
}

/// The same by the infallible verb (the loader must not fail).
pub fn task_infallibly<'t>(cache: &'t TestCache, key: Key, loader: &Loader, awaits: usize) -> Task<'t, Answer> {
    let loader = loader.clone();
    Task::new(caught(async move {
        Answer::Value(cache.get_with_async(&key, || async { slowly(loader, awaits).await.unwrap() }).await)
    }))
}

/// Both verbs, by turns.
pub fn task_either<'t>(cache: &'t TestCache, n: usize, loader: &Loader, awaits: usize) -> Task<'t, Answer> {
    let ask = [task, task_infallibly][n % 2];
    ask(cache, 1, loader, awaits)
}

/// This many tasks that ask for key 1 by either verb, each polled once: they wait.
pub fn waiting<'t>(cache: &'t TestCache, tasks: usize, loader: &Loader) -> Vec<Task<'t, Answer>> {
    let mut tasks: Vec<_> = (0..tasks).map(|n| task_either(cache, n, loader, 2)).collect();
    tasks.iter_mut().for_each(Task::step);
    tasks
}

/// A loader of this value.
pub fn value(value: u64) -> Loader {
    Loader::new(End::Value(value))
}

/// Keeps loads until the test has them polled.
#[derive(Clone, Default)]
pub struct Later(pub Arc<Mutex<Vec<bellwether::Task>>>);

impl Later {
    /// Polls what was spawned, each to its end.
    pub fn run(&self) -> usize {
        let loads: Vec<_> = std::mem::take(&mut *self.0.lock().unwrap());
        let loads: Vec<_> = loads.into_iter().map(Task::new).collect();
        run(loads).len()
    }

    pub fn spawner(&self) -> impl Fn(bellwether::Task) + Send + Sync + 'static {
        let this = self.clone();
        move |load| this.0.lock().unwrap().push(load)
    }
}
