use super::*;

const LIMITS: Limits = Limits { head: 10, keep_alive: 75, stall: 30, request: 20, overdue: 5 };

fn entry(requests: u32, in_head: bool, http2: bool, blocked: u64) -> Entry {
    Entry {
        http2: AtomicBool::new(http2),
        requests: AtomicU32::new(requests),
        head: AtomicU8::new(if in_head { head::LATER } else { head::IDLE }),
        since: AtomicU64::new(100),
        blocked: AtomicU64::new(blocked),
        ..Entry::default()
    }
}

#[test]
fn each_state_has_its_own_limit() {
    const NEVER: u64 = u64::MAX;
    let cases = [
        ("a head may take its time", entry(0, true, false, NEVER), 110, Order::Serve),
        ("but not more", entry(0, true, false, NEVER), 111, Order::Cut),
        ("an idle connection is kept", entry(0, false, false, NEVER), 175, Order::Serve),
        ("but not for ever", entry(0, false, false, NEVER), 176, Order::Close),
        ("a request has its own deadline", entry(1, false, false, NEVER), 1_000, Order::Serve),
        ("unless its client stopped reading", entry(1, false, false, 115), 121, Order::Cut),
        ("a reader may pause", entry(1, false, false, 101), 120, Order::Serve),
        ("but not for ever", entry(1, false, true, 101), 132, Order::Cut),
        ("frames between requests are no head", entry(0, true, true, NEVER), 150, Order::Serve),
        ("an idle HTTP/2 connection is closed, too", entry(0, false, true, NEVER), 176, Order::Close),
    ];
    for (what, entry, now, expected) in cases {
        let order = entry.judge(now, &LIMITS).map(|(order, _)| order);
        assert_eq!(order.unwrap_or(Order::Serve), expected, "{what}");
    }
}

#[test]
fn a_client_that_does_not_take_the_end_of_a_response_is_left() {
    let entry = entry(1, false, true, u64::MAX);
    entry.overdue.store(1, Ordering::Relaxed);
    entry.overdue_since.store(100, Ordering::Relaxed);
    assert_eq!(entry.judge(105, &LIMITS), None);
    assert_eq!(entry.judge(106, &LIMITS), Some((Order::Cut, None)), "its time was counted when it was up");
}

#[test]
fn only_what_waits_for_a_request_may_move() {
    let at = |head, requests, blocked| {
        let entry = entry(requests, false, false, blocked);
        entry.head.store(head, Ordering::Relaxed);
        entry
    };
    assert_eq!(at(head::FIRST, 0, u64::MAX).rest(), Rest::Beginning);
    assert_eq!(at(head::ADOPTED, 0, u64::MAX).rest(), Rest::Beginning);
    assert_eq!(at(head::IDLE, 0, u64::MAX).rest(), Rest::BetweenRequests);
    assert_eq!(at(head::LATER, 0, u64::MAX).rest(), Rest::BetweenRequests);
    assert_eq!(at(head::IDLE, 1, u64::MAX).rest(), Rest::Busy);
    assert_eq!(at(head::IDLE, 0, 100).rest(), Rest::Busy, "the last response is not written");
    let lingering = at(head::IDLE, 0, u64::MAX);
    lingering.unread.store(true, Ordering::Relaxed);
    assert_eq!(lingering.rest(), Rest::Busy);
}

#[test]
fn orders_only_get_stricter() {
    let entry = entry(0, false, false, u64::MAX);
    entry.tell(Order::Cut);
    entry.tell(Order::Close);
    assert_eq!(entry.order(), Order::Cut);
}
