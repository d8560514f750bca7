//! Clocks that other processes read the same.

use std::time::Duration;

use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

use crate::Result;

/// Time since some moment that is the same for all processes.
pub(crate) fn monotonic() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_MONOTONIC)?.into())
}

/// What the threads of a process, those that ended too, have spent on CPUs, user and system together.
///
/// To the nanosecond and up to this moment, where `/proc/PID/stat` counts ticks of 10 ms and `/proc/PID/schedstat` lags
/// behind by up to a tick for threads that run.
pub(crate) fn cpu(process: i32) -> Result<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(process))
        .map_err(|error| format!("process {process} ended during the measurement: {error}"))?;
    Ok(clock_gettime(clock)?.into())
}

/// The sum for several processes.
pub(crate) fn cpu_of_all(processes: &[i32]) -> Result<Duration> {
    processes.iter().map(|process| cpu(*process)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_time_grows() -> Result<()> {
        let me = i32::try_from(std::process::id())?;
        let before = cpu(me)?;
        let mut sum = 0_u64;
        while cpu(me)? < before + Duration::from_millis(2) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(cpu_of_all(&[me, me])? > before * 2);
        Ok(())
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        // The kernel gives no number above 2^22.
        assert!(cpu((1 << 22) + 1).is_err());
    }
}
