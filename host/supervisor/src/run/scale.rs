//! How many slots there are to be.

use core::num::NonZeroU16;

use wasmcluster_core::cluster::Event;
use wasmcluster_core::record::Record;

use super::Supervisor;
use crate::instances::Instances;
use crate::limits::{self, TooFewDescriptors};

impl<R: FnMut(Record)> Supervisor<R> {
    /// Wants so many slots.
    pub(super) fn scale(&mut self, slots: NonZeroU16) -> Result<(), TooFewDescriptors> {
        limits::raise_descriptors(slots.get(), self.origin.serving.max_connections)?;
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
            (self.records)(Record::ScaleFailed { message: error.to_string(), hint: error.hint() });
        }
    }
}
