//! The threads that stages run in: as many as ever ran at the same time, for a thread takes longer to start
//! than a short stage to be looked after.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::Scope;

use super::executor::{Executor, panic_message};
use super::news::{News, Reporter};
use super::worker::{Trouble, Work};
use crate::cache::Claim;
use crate::plan::StageIndex;

/// Threads of a scope. They end when this is dropped and what they run has ended.
pub(super) struct Threads<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    executor: &'scope dyn Executor,
    stop: &'scope AtomicBool,
    news: Sender<News>,
    queue: Sender<(StageIndex, Work, Claim)>,
    waiting: Arc<Mutex<Receiver<(StageIndex, Work, Claim)>>>,
    /// How many threads there are, less the stages that were given to them and have not ended.
    free: Arc<AtomicIsize>,
}

impl<'scope, 'env> Threads<'scope, 'env> {
    /// None so far.
    pub fn new(
        scope: &'scope Scope<'scope, 'env>,
        executor: &'scope dyn Executor,
        stop: &'scope AtomicBool,
        news: Sender<News>,
    ) -> Threads<'scope, 'env> {
        let (queue, waiting) = channel();
        let (waiting, free) = (Arc::new(Mutex::new(waiting)), Arc::default());
        Threads { scope, executor, stop, news, queue, waiting, free }
    }

    /// Runs a stage in one of them; in a new one, if all are busy.
    pub fn run(&mut self, stage: StageIndex, work: Work, claim: Claim) {
        self.queue.send((stage, work, claim)).expect("BUG: nobody can run a stage any more");
        if self.free.fetch_sub(1, Ordering::Relaxed) > 0 {
            return;
        }
        self.free.fetch_add(1, Ordering::Relaxed);
        let (executor, stop, news) = (self.executor, self.stop, self.news.clone());
        let (waiting, free) = (self.waiting.clone(), self.free.clone());
        self.scope.spawn(move || {
            loop {
                let next = waiting.lock().expect("no panic while it is locked").recv();
                let Ok((stage, work, claim)) = next else { return };
                let reporter = Reporter { stage, news: news.clone() };
                let perform = AssertUnwindSafe(|| work.perform(claim, executor, &reporter, stop));
                // Nobody would hear of the end of a stage whose thread is gone.
                let result = catch_unwind(perform).unwrap_or_else(|panic| {
                    let message = format!("the runner itself panicked: {}", panic_message(panic.as_ref()));
                    Err(Trouble::Failed(message))
                });
                // Before the news, upon which another stage comes.
                free.fetch_add(1, Ordering::Relaxed);
                reporter.send(News::Ended(stage, Box::new(result)));
            }
        });
    }
}
