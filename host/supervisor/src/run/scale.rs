//! How many slots there are to be.

use core::num::NonZeroU16;

use wasmcluster_core::cluster::{Event, SlotId, Worker};
use wasmcluster_core::control::{Begun, Change, Ended, Fault, FromSupervisor};
use wasmcluster_core::record::Record;

use super::Supervisor;
use super::waiting::{Asker, Waiter, Wanted};
use crate::control::Answers;
use crate::instances::Instances;
use crate::limits::{self, TooFewDescriptors};

impl Supervisor<'_> {
    /// Wants so many slots.
    pub(super) fn scale(&mut self, slots: NonZeroU16) -> Result<(), TooFewDescriptors> {
        limits::raise_descriptors(slots.get(), self.means.origin.serving.max_connections)?;
        self.tell(Event::Scale { slots });
        Ok(())
    }

    /// Wants so many slots more, or fewer, as far as that is possible.
    pub(super) fn scale_by(&mut self, by: i16) {
        let now = u16::try_from(self.cluster.active().count()).unwrap_or(u16::MAX);
        let slots = now.saturating_add_signed(by).clamp(1, Instances::LIMIT);
        if let Some(slots) = NonZeroU16::new(slots)
            && let Err(error) = self.scale(slots)
        {
            (self.means.records)(Record::ScaleFailed { message: error.to_string(), hint: error.hint() });
        }
    }

    /// Wants so many slots, and tells somebody when there are.
    pub(super) fn scale_for(&mut self, change: Change, mut answers: Answers) {
        if self.cluster.is_stopping() {
            return decline(answers, Fault::Other, "the app is stopping", None);
        }
        let from = self.cluster.active().count();
        let slots = change.from(u16::try_from(from).unwrap_or(u16::MAX));
        let Some(slots) = slots.filter(|slots| slots.get() <= Instances::LIMIT) else {
            let message = format!("there can be 1 to {} workers, and there are {from}", Instances::LIMIT);
            return decline(answers, Fault::Usage, message, Some("`wasmcluster stop` stops them all".into()));
        };
        if let Err(error) = self.scale(slots) {
            return decline(answers, Fault::Resources, error.to_string(), Some(error.hint()));
        }
        let to = slots.get().into();
        answers.send(FromSupervisor::Begun(Begun::Scaling { from, to }));
        self.waiting.add(Waiter::new(Wanted::Slots(to), Asker::new(answers)));
    }

    /// Wants another worker in a slot, and tells somebody when it serves and the old one is gone.
    pub(super) fn restart_for(&mut self, slot: SlotId, mut answers: Answers) {
        if self.cluster.is_stopping() {
            return decline(answers, Fault::Other, "the app is stopping", None);
        }
        let Some(found) = self.cluster.active().find(|active| active.id() == slot) else {
            let hint = "`wasmcluster status` shows the slots".to_owned();
            return decline(answers, Fault::Usage, format!("there is no slot `{slot}`"), Some(hint));
        };
        // One that starts is another worker already.
        let before = found.workers().iter().filter(|worker| worker.is_serving()).map(Worker::id).collect();
        answers.send(FromSupervisor::Begun(Begun::Restarting { slot }));
        self.tell(Event::Restart { slot });
        self.waiting.add(Waiter::new(Wanted::Successor(slot, before), Asker::new(answers)));
    }
}

fn decline(answers: Answers, fault: Fault, message: impl Into<String>, hint: Option<String>) {
    let refused = Ended::Refused { fault, message: message.into(), hint, serving: None };
    answers.end(FromSupervisor::Ended(refused));
}
