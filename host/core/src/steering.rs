//! Which slot a new connection goes to: shares, and the program by which the kernel deals them out.
//!
//! All slots of an app listen on one address. The kernel calls the sockets a group, numbers its members, and picks one for
//! each new connection: by a hash of the two addresses, or by what a program of ours returns. The program is made here as
//! plain data, so that it can be run in a test; the supervisor only hands it over.

use core::iter;

use serde::{Deserialize, Serialize};

use crate::cluster::SlotId;

/// The share of new connections that each slot gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Steering {
    /// By slot. Only their proportions mean something.
    shares: Vec<u32>,
}

impl Steering {
    /// Shares by slot.
    #[must_use]
    pub fn new(shares: Vec<u32>) -> Self {
        Self { shares }
    }

    /// The share of a slot; none for one that nobody heard of.
    #[must_use]
    pub fn share(&self, slot: SlotId) -> u32 {
        self.shares.get(slot.index()).copied().unwrap_or(0)
    }
}

/// One instruction of the kernel's classic packet filter, as in `struct sock_filter`.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What to do.
    pub code: u16,
    /// How many instructions to skip if a condition holds.
    pub jt: u8,
    /// How many to skip if it does not.
    pub jf: u8,
    /// What to do it with.
    pub k: u32,
}

/// What each instruction is called in the kernel's `filter.txt`: load a word of the packet, remainder of a division by a
/// constant, jump if greater or equal, return a constant.
const LOAD: u16 = 0x20;
const MODULO: u16 = 0x94;
const JUMP_IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

/// Where in a "packet" the kernel puts a random number: SKF_AD_OFF + SKF_AD_RANDOM.
const RANDOM: u32 = 0xffff_f000 + 56;

/// No member has this number, and the kernel does by its hash what a program could not decide.
const NOBODY: u32 = u32::MAX;

/// The program that picks a member of the group, each by its share. `shares` are in the order of the group.
///
/// Equal shares are dealt out, too, and not left to the kernel's hash. That knows nothing but the two addresses: a proxy in
/// front has a few thousand of them at most, each of which always comes to the same slot for as long as the machine is up,
/// so what one slot gets more than another it gets every time. Where nobody has a share there is nothing to deal out, and
/// the hash does: refusing everybody would help nobody.
#[must_use]
pub fn program(shares: &[u32]) -> Vec<Instruction> {
    let sum = shares.iter().map(|share| u64::from(*share)).sum::<u64>();
    // More than a random number can tell apart. No caller comes near it.
    let sum = u32::try_from(sum).unwrap_or(0);
    if sum == 0 || shares.len() == 1 {
        return vec![statement(RETURN, NOBODY)];
    }
    let mut below = 0;
    let choices = (0..).zip(shares).filter(|(_, share)| **share > 0).flat_map(|(member, share)| {
        below += share;
        // Beyond this member's share, skip the next instruction.
        [Instruction { code: JUMP_IF_AT_LEAST, jt: 1, jf: 0, k: below }, statement(RETURN, member)]
    });
    let random = [statement(LOAD, RANDOM), statement(MODULO, sum)];
    random.into_iter().chain(choices).chain(iter::once(statement(RETURN, NOBODY))).collect()
}

fn statement(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

#[cfg(any(test, fuzzing))]
pub mod laws;
#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::laws::{LONGEST, any_shares_are_dealt, run};
    use super::*;
    use crate::laws::cases;

    /// How often each member is picked, over all random numbers up to the sum of the shares.
    fn deal(shares: &[u32]) -> Vec<u32> {
        let program = program(shares);
        assert!(program.len() <= LONGEST);
        let mut dealt = vec![0; shares.len()];
        for random in 0..shares.iter().sum() {
            dealt[usize::try_from(run(&program, random)).expect("small")] += 1;
        }
        dealt
    }

    #[test]
    fn each_member_gets_its_share() {
        let each = [
            [1, 0].as_slice(),
            &[0, 1],
            &[90, 10],
            &[7, 7, 7, 7],
            &[0, 0, 7],
            &[3, 0, 1, 0, 2],
            &[1, 2, 3, 4],
        ];
        for shares in each {
            assert_eq!(deal(shares), shares);
        }
    }

    #[test]
    fn every_pattern_of_eight_members_is_dealt_as_said() {
        for pattern in 1..6561_u32 {
            let shares: Vec<_> = (0..8).map(|member| pattern / 3_u32.pow(member) % 3).collect();
            assert_eq!(deal(&shares), shares);
        }
    }

    #[test]
    fn a_group_of_any_size_can_lose_any_member() {
        for size in 2..=256 {
            for lost in [0, size / 2, size - 1] {
                let shares: Vec<_> = (0..size).map(|member| u32::from(member != lost)).collect();
                assert_eq!(deal(&shares), shares);
            }
        }
    }

    #[test]
    fn large_random_numbers_are_dealt_like_small_ones() {
        let program = program(&[0, 2, 3]);
        assert_eq!(run(&program, u32::MAX), if u32::MAX % 5 < 2 { 1 } else { 2 });
    }

    #[test]
    fn where_there_is_nothing_to_deal_out_the_kernel_decides() {
        for shares in [[].as_slice(), &[0], &[5], &[0, 0, 0], &[u32::MAX, 1]] {
            let program = program(shares);
            assert_eq!(program.len(), 1);
            assert_eq!(run(&program, 0), NOBODY);
        }
    }

    proptest! {
        #![proptest_config(cases(64))]

        #[test]
        fn any_shares(shares in vec(prop_oneof![Just(0), Just(1), ..1_000_u32, any::<u32>()], ..300), randoms: [u32; 8]) {
            any_shares_are_dealt(&shares, &randoms);
        }

        #[test]
        fn shares_up_to_the_largest_random_number(share: u32) {
            any_shares_are_dealt(&[share, u32::MAX - share], &[u32::MAX]);
        }
    }

    #[test]
    fn who_is_unknown_has_no_share() {
        let steering = Steering::new(vec![3, 4]);
        let shares: Vec<_> = (0..3).map(|slot| steering.share(SlotId(slot))).collect();
        assert_eq!(shares, [3, 4, 0]);
    }
}
