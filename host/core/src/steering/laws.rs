//! What holds for every program that is given to the kernel.

use super::{Instruction, JUMP_IF_AT_LEAST, LOAD, MODULO, NOBODY, RANDOM, RETURN, program};

/// As many instructions as the kernel takes.
pub const LONGEST: usize = 4096;

/// Any shares of a group give a program that the kernel takes, and that deals exactly by them: of all random numbers up to the
/// sum of the shares each member gets as many as its share is. Where there is nothing to deal out, nobody is picked.
pub fn any_shares_are_dealt(shares: &[u32], randoms: &[u32]) {
    let program = program(shares);
    is_taken_by_the_kernel(&program);
    let sum: u64 = shares.iter().copied().map(u64::from).sum();
    let sum = u32::try_from(sum).unwrap_or(0);
    if sum == 0 || shares.len() == 1 {
        assert!([0, sum, u32::MAX].iter().chain(randoms).all(|random| run(&program, *random) == NOBODY));
        return;
    }
    let mut below = 0;
    for (member, share) in (0..).zip(shares).filter(|(_, share)| **share > 0) {
        // It gets all numbers in between, because every comparison is with the end of somebody's numbers.
        for random in [below, below + (share - 1) / 2, below + (share - 1)] {
            assert_eq!(run(&program, random), member, "{random} of {sum}");
        }
        below += share;
    }
    assert_eq!(below, sum);
    for random in randoms {
        assert_eq!(run(&program, *random), run(&program, random % sum), "{random} of {sum}");
    }
}

/// What the kernel checks before it takes a program (`bpf_check_classic` and `check_load_and_stores` of its
/// `net/core/filter.c`), as far as it concerns instructions that are used here.
///
/// # Panics
/// Panics if it would refuse.
pub fn is_taken_by_the_kernel(program: &[Instruction]) {
    assert!((1..=LONGEST).contains(&program.len()), "{} instructions", program.len());
    for (at, Instruction { code, jt, jf, k }) in program.iter().enumerate() {
        match *code {
            LOAD => assert_eq!(*k, RANDOM, "{at}: no packet is looked at"),
            MODULO => assert_ne!(*k, 0, "{at}: a division by zero"),
            JUMP_IF_AT_LEAST => {
                let furthest = at + 1 + usize::from(*jt.max(jf));
                assert!(furthest < program.len(), "{at}: a jump to {furthest}");
            }
            RETURN => {}
            other => panic!("{at}: {other:#x} is no instruction"),
        }
    }
    assert_eq!(program.last().map(|last| last.code), Some(RETURN));
}

/// Runs a program as the kernel does, with `random` for its random number. It ends, because jumps only lead forward.
///
/// # Panics
/// Panics where the kernel would not take the program.
#[must_use]
pub fn run(program: &[Instruction], random: u32) -> u32 {
    let (mut accumulator, mut at) = (0, 0);
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        at += 1;
        match code {
            LOAD if k == RANDOM => accumulator = random,
            MODULO => accumulator %= k,
            JUMP_IF_AT_LEAST => at += usize::from(if accumulator >= k { jt } else { jf }),
            RETURN => return k,
            _ => panic!("{:?}", program[at - 1]),
        }
    }
}
