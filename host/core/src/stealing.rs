//! Who takes connections from whose queue.
//!
//! A connection belongs to the slot that the kernel picked for it, and waits there until a worker of that slot accepts it.
//! Where that worker is dead, stopped or busy, another one may as well. Nobody needs to know why a queue stands still: two
//! looks at it, a few milliseconds apart, are enough.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::cluster::{SlotId, WorkerId};

/// How many connections wait in a slot.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Which slot.
    pub slot: SlotId,
    /// At the first look.
    pub before: u32,
    /// At the second one.
    pub now: u32,
}

/// A worker that serves, and that was not told to go.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Hand {
    /// Which one.
    pub worker: WorkerId,
    /// Whose queue it serves anyway.
    pub slot: SlotId,
    /// Whether it is to get no more than was said: it takes nothing that anybody else will serve.
    pub rationed: bool,
}

/// Something to be taken.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Theft {
    /// From the queue of this slot.
    pub from: SlotId,
    /// By this worker.
    pub by: WorkerId,
    /// At most so many.
    pub most: u32,
}

/// Decides about thefts.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Stealing {
    /// Who was asked and has not answered. They may be stuck, and what they are asked is kept for them: one thing at most.
    asked: BTreeSet<WorkerId>,
    /// Who is asked first. It goes round, or the first of all would get everything.
    turn: usize,
}

impl Stealing {
    /// What to take, after two looks at all queues. Whoever is named has been asked, until [`answered`](Self::answered).
    ///
    /// What waits for longer than between two looks is taken by those that have nothing to do; where nobody serves, by
    /// anybody, those with the shortest queue first.
    pub fn decide(&mut self, queues: &[Queue], hands: &[Hand]) -> Vec<Theft> {
        let length = |slot| queues.iter().find(|queue| queue.slot == slot).map_or(0, |queue| queue.now);
        let is_dead = |slot| !hands.iter().any(|hand| hand.slot == slot);
        let mut free: Vec<_> = hands.iter().filter(|hand| !self.asked.contains(&hand.worker)).collect();
        if let Some(turns) = self.turn.checked_rem(free.len()) {
            free.rotate_left(turns);
        }
        free.sort_by_key(|hand| length(hand.slot));

        // Where nothing waits any more there is room for nobody.
        let stands = |queue: &&Queue| queue.before > 0;
        let mut wanting: Vec<_> = queues.iter().filter(stands).map(|queue| (*queue, Vec::new())).collect();
        for hand in free {
            let idle = length(hand.slot) == 0 && !hand.rationed;
            let open = wanting.iter_mut().filter(|(queue, by)| {
                let room = u32::try_from(by.len()).is_ok_and(|count| count < queue.now);
                room && (idle || is_dead(queue.slot))
            });
            // To where each of those that come would have most to do.
            if let Some((_, by)) = open.max_by_key(|(queue, by)| part(queue.now, by.len() + 1)) {
                by.push(hand.worker);
            }
        }

        let thefts: Vec<_> = wanting
            .into_iter()
            .flat_map(|(queue, by)| {
                let most = part(queue.now, by.len());
                by.into_iter().map(move |by| Theft { from: queue.slot, by, most })
            })
            .collect();
        self.asked.extend(thefts.iter().map(|theft| theft.by));
        self.turn = self.turn.wrapping_add(thefts.len());
        thefts
    }

    /// A worker has done what it was asked to, or is gone.
    pub fn answered(&mut self, worker: WorkerId) {
        self.asked.remove(&worker);
    }
}

/// What each of `by` takes of so many, so that nothing is left.
fn part(of: u32, by: usize) -> u32 {
    of.div_ceil(u32::try_from(by).unwrap_or(u32::MAX).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Slots with what waits in each at two looks.
    fn queues(lengths: &[(u32, u32)]) -> Vec<Queue> {
        let slots = (0..).map(SlotId).zip(lengths);
        slots.map(|(slot, &(before, now))| Queue { slot, before, now }).collect()
    }

    /// Workers, each by its slot. They are numbered as they come, from 1.
    fn hands(slots: &[u16]) -> Vec<Hand> {
        let workers = (1..).map(WorkerId).zip(slots);
        workers.map(|(worker, &slot)| Hand { worker, slot: SlotId(slot), rationed: false }).collect()
    }

    /// Each theft as slot, worker and number.
    fn decide(stealing: &mut Stealing, lengths: &[(u32, u32)], slots: &[u16]) -> Vec<(u16, u64, u32)> {
        let thefts = stealing.decide(&queues(lengths), &hands(slots));
        thefts.into_iter().map(|Theft { from, by, most }| (from.0, by.0, most)).collect()
    }

    fn first(lengths: &[(u32, u32)], slots: &[u16]) -> Vec<(u16, u64, u32)> {
        decide(&mut Stealing::default(), lengths, slots)
    }

    #[test]
    fn what_waits_at_both_looks_is_taken_by_who_has_nothing_to_do() {
        assert_eq!(first(&[(3, 2), (0, 0)], &[0, 1]), [(0, 2, 2)]);
        assert_eq!(first(&[(0, 2), (0, 0)], &[0, 1]), []);
        assert_eq!(first(&[(3, 0), (0, 0)], &[0, 1]), []);
    }

    #[test]
    fn nobody_takes_from_their_own_queue_or_with_one_to_serve() {
        assert_eq!(first(&[(3, 2)], &[0]), []);
        assert_eq!(first(&[(3, 2), (0, 1)], &[0, 1]), []);
        assert_eq!(first(&[(3, 2), (1, 0)], &[0, 1]), [(0, 2, 2)]);
    }

    #[test]
    fn where_nobody_serves_anybody_takes_the_least_busy_first() {
        assert_eq!(first(&[(9, 2), (5, 7), (4, 4), (0, 1)], &[1, 2, 3]), [(0, 3, 1), (0, 2, 1)]);
        assert_eq!(first(&[(9, 2), (5, 5)], &[]), []);
    }

    #[test]
    fn thieves_share_and_leave_nothing() {
        assert_eq!(first(&[(9, 7), (0, 0), (0, 0)], &[0, 1, 2]), [(0, 2, 4), (0, 3, 4)]);
        assert_eq!(first(&[(1, 1), (0, 0), (0, 0)], &[0, 1, 2]), [(0, 2, 1)]);
    }

    #[test]
    fn the_longer_queue_gets_more_thieves() {
        let lengths = [(4, 4), (30, 30), (0, 0), (0, 0), (0, 0)];
        assert_eq!(first(&lengths, &[0, 1, 2, 3, 4]), [(1, 3, 10), (1, 4, 10), (1, 5, 10)]);
        let lengths = [(20, 20), (30, 30), (0, 0), (0, 0), (0, 0)];
        assert_eq!(first(&lengths, &[0, 1, 2, 3, 4]), [(0, 4, 20), (1, 3, 15), (1, 5, 15)]);
    }

    #[test]
    fn who_was_asked_is_not_asked_again_before_an_answer() {
        let mut stealing = Stealing::default();
        let ask = |stealing: &mut Stealing| decide(stealing, &[(1, 1), (0, 0)], &[0, 1]);
        assert_eq!(ask(&mut stealing), [(0, 2, 1)]);
        assert_eq!(ask(&mut stealing), []);
        stealing.answered(WorkerId(2));
        assert_eq!(ask(&mut stealing), [(0, 2, 1)]);
    }

    #[test]
    fn a_worker_that_does_not_answer_still_counts_as_one_that_serves() {
        let mut stealing = Stealing::default();
        assert_eq!(decide(&mut stealing, &[(1, 1), (0, 0), (0, 0)], &[0, 1]), [(0, 2, 1)]);
        // Its slot is not dead, so who has a queue of their own leaves it alone.
        assert_eq!(decide(&mut stealing, &[(0, 1), (1, 1), (0, 0)], &[0, 1]), []);
    }

    #[test]
    fn a_rationed_worker_takes_only_what_nobody_else_serves() {
        let mut hands = hands(&[0, 1]);
        hands[1].rationed = true;
        let decide = |lengths: &[(u32, u32)]| Stealing::default().decide(&queues(lengths), &hands);
        assert_eq!(decide(&[(1, 1), (0, 0)]), []);
        let theft = Theft { from: SlotId(2), by: WorkerId(2), most: 1 };
        assert_eq!(decide(&[(1, 1), (0, 0), (1, 1)]), [theft]);
    }

    #[test]
    fn everybody_gets_their_turn() {
        let mut stealing = Stealing::default();
        let mut taken = [0; 4];
        for _ in 0..30 {
            for (_, by, _) in decide(&mut stealing, &[(1, 1), (0, 0), (0, 0), (0, 0)], &[0, 1, 2, 3]) {
                taken[usize::try_from(by).expect("small") - 1] += 1;
                stealing.answered(WorkerId(by));
            }
        }
        assert!(taken[1..].iter().all(|count| *count >= 5), "{taken:?}");
        assert_eq!(taken[0], 0);
    }
}
