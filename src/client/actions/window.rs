//! Many requests under way at once, and their results in the order in which they were asked for.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

/// How many requests of one action are under way at once, unless the caller says otherwise.
///
/// Enough to hide the way to the daemon and back; few enough that a machine is not asked to start everything in one instant.
pub(super) const PARALLEL_DEFAULT: usize = 64;

/// The most that a caller can ask for; more only fills the daemon's queues.
pub(super) const PARALLEL_MAX: usize = 1024;

/// Runs the tasks, at most `limit` at once, beginning them in order. After one of them has failed no further one begins.
///
/// Gives the values in the order of the tasks, or the error of the first task, in that order, which failed. All that had begun has ended
/// by then.
pub(super) async fn until_failure<F, T, E>(
    tasks: impl Iterator<Item = F>,
    limit: usize,
) -> Result<Vec<T>, E>
where
    F: Future<Output = Result<T, E>>,
{
    let results = run(tasks, limit, |result: &Result<T, E>| result.is_err()).await;
    results.into_iter().collect()
}

/// Runs the tasks, at most `limit` at once, beginning them in order, and gives every result in that order.
pub(super) async fn all<F: Future>(tasks: impl Iterator<Item = F>, limit: usize) -> Vec<F::Output> {
    run(tasks, limit, |_| false).await
}

async fn run<F: Future>(
    tasks: impl Iterator<Item = F>,
    limit: usize,
    is_last: impl Fn(&F::Output) -> bool,
) -> Vec<F::Output> {
    let mut waiting = tasks.enumerate();
    let mut running: Vec<(usize, Pin<Box<F>>)> = Vec::new();
    let mut done: Vec<(usize, F::Output)> = Vec::new();
    let mut is_closed = false;
    poll_fn(|context| {
        loop {
            // Polled in the order of their beginning: the daemon hands out ids in the order of the requests.
            let mut index = 0;
            while index < running.len() {
                match running[index].1.as_mut().poll(context) {
                    Poll::Pending => index += 1,
                    Poll::Ready(output) => {
                        is_closed |= is_last(&output);
                        done.push((running.remove(index).0, output));
                    }
                }
            }
            let before = running.len();
            while !is_closed && running.len() < limit.max(1) {
                let Some((number, task)) = waiting.next() else {
                    break;
                };
                running.push((number, Box::pin(task)));
            }
            if running.len() == before {
                break;
            }
        }
        if running.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, output)| output).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::super::testing::block_on;
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_tasks() {
        let begun = RefCell::new(Vec::new());
        let (now, most) = (Cell::new(0), Cell::new(0));
        let task = |number: usize| {
            let (begun, now, most) = (&begun, &now, &most);
            async move {
                begun.borrow_mut().push(number);
                now.set(now.get() + 1);
                most.set(most.get().max(now.get()));
                for _ in 0..(10 - number) {
                    tokio::task::yield_now().await;
                }
                now.set(now.get() - 1);
                number
            }
        };
        let results = block_on(all((0..10).map(task), 3));
        assert_eq!(results, (0..10).collect::<Vec<_>>());
        assert_eq!(*begun.borrow(), (0..10).collect::<Vec<_>>());
        assert_eq!(most.get(), 3);
    }

    #[test]
    fn nothing_begins_after_a_failure_and_what_had_begun_ends() {
        let ended = RefCell::new(Vec::new());
        let task = |number: usize| {
            let ended = &ended;
            async move {
                if number != 1 {
                    tokio::task::yield_now().await;
                    tokio::task::yield_now().await;
                }
                ended.borrow_mut().push(number);
                if number == 1 { Err(number) } else { Ok(number) }
            }
        };
        assert_eq!(block_on(until_failure((0..10).map(task), 3)), Err(1));
        assert_eq!(*ended.borrow(), [1, 0, 2]);
    }

    #[test]
    fn no_tasks_are_no_results_and_a_limit_of_zero_is_one() {
        assert_eq!(
            block_on(all(std::iter::empty::<std::future::Ready<()>>(), 5)),
            []
        );
        assert_eq!(block_on(all((0..3).map(std::future::ready), 0)), [0, 1, 2]);
    }
}
