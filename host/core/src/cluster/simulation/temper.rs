//! What a seed makes of a world: how it is set, and how hard life is there.

use core::num::NonZeroU16;
use core::time::Duration;

use fastrand::Rng;

use super::super::Settings;

/// How hard life is in one world. Chances are in percent.
pub(super) struct Temper {
    pub(super) spawn_fails: u8,
    pub(super) hangs: u8,
    pub(super) refuses: u8,
    pub(super) dies_early: u8,
    /// That a worker which serves crashes at some time.
    pub(super) crashes: u8,
    pub(super) ignores_drain: u8,
    /// That a worker which serves says nothing from then on.
    pub(super) falls_silent: u8,
    /// That a worker uses too much memory, as it says beside a pulse.
    pub(super) grows: u8,
    /// That requests fail in a worker.
    pub(super) fails: u8,
    /// That an event is delivered again later.
    pub(super) echoes: u8,
    pub(super) start: u64,
    pub(super) life: u64,
    /// The longest an event, a signal or a timer takes to arrive, in milliseconds.
    pub(super) lag: u64,
    /// What all waits are multiples of, in microseconds.
    pub(super) tick: u64,
}

/// What kind of world a seed makes. Most are mixed; the others visit what chance alone would not.
#[derive(Copy, Clone, PartialEq, Eq)]
pub(super) enum Character {
    Mixed,
    /// Everything happens on a coarse grid of time: things coincide, at deadlines and at the edges of windows too.
    Coarse,
    /// One slot in which no worker ever lives, and endless patience: a very long row of failures.
    Doomed,
}

pub(super) fn character(rng: &mut Rng) -> Character {
    match rng.u8(0..40) {
        0 => Character::Doomed,
        1..=10 => Character::Coarse,
        _ => Character::Mixed,
    }
}

pub(super) fn settings(rng: &mut Rng, character: Character) -> Settings {
    let tick = tick(character);
    let mut millis = |most: u64| Duration::from_micros(rng.u64(0..=most * 1_000 / tick) * tick);
    // In a kind world a worker must be able to start in time, whatever the lag.
    let listen_timeout = Duration::from_millis(250) + millis(3_000);
    let (kill_timeout, exit_grace) = (millis(3_000), millis(500));
    let (restart_window, min_uptime) = (millis(20_000), millis(1_500));
    let heartbeat = Duration::from_millis(500) + millis(3_000);
    let (backoff_base, backoff_cap) = (millis(200), millis(3_000));
    let settings = Settings {
        slots: NonZeroU16::MIN.saturating_add(rng.u16(0..6)),
        listen_timeout,
        kill_timeout,
        exit_grace,
        heartbeat_timeout: if rng.u8(0..3) == 0 { Some(heartbeat) } else { None },
        stuck_after: if rng.bool() { Some(heartbeat * rng.u32(20..150) / 100) } else { None },
        max_restarts: rng.u32(0..10),
        restart_window,
        min_uptime,
        backoff_base,
        backoff_cap,
        seed: rng.u64(..),
    };
    match character {
        Character::Mixed => settings,
        // Without jitter, restarts stay on the grid; in a short window, exits come to lie on its edge.
        Character::Coarse => Settings {
            backoff_base: Duration::ZERO,
            restart_window: restart_window.min(Duration::from_millis(500)),
            ..settings
        },
        Character::Doomed => Settings {
            slots: NonZeroU16::MIN,
            max_restarts: 1_000,
            backoff_base: Duration::from_millis(1),
            backoff_cap: Duration::from_millis(100),
            ..settings
        },
    }
}

/// See [`Temper::tick`].
fn tick(character: Character) -> u64 {
    if character == Character::Coarse { 50_000 } else { 1 }
}

pub(super) fn temper(rng: &mut Rng, settings: &Settings, character: Character) -> Temper {
    let listen = u64::try_from(settings.listen_timeout.as_millis()).unwrap_or(u64::MAX);
    // Most vices are absent from most worlds, so that the others get their turn.
    let fails = rng.u8(0..60);
    let mut vice = |most: u8| if rng.u8(0..3) == 0 { rng.u8(0..=most) } else { 0 };
    let temper = Temper {
        spawn_fails: vice(50),
        hangs: vice(60),
        refuses: vice(60),
        dies_early: vice(100),
        crashes: vice(100),
        ignores_drain: vice(100),
        falls_silent: vice(40),
        grows: vice(40),
        fails,
        echoes: vice(60),
        start: rng.u64(0..=listen + listen / 4),
        life: rng.u64(1..5_000),
        lag: [2, 20, 100][rng.usize(0..3)].max(tick(character) / 1_000),
        tick: tick(character),
    };
    match character {
        Character::Mixed | Character::Coarse => temper,
        Character::Doomed => Temper { hangs: 0, refuses: 0, dies_early: 100, start: 10, lag: 2, ..temper },
    }
}
