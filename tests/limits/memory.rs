//! How much memory a guest may have, to the page.

use super::answering::Guest;
use super::{expect_reached, said};

const PAGE: u32 = 64 << 10;

/// Asks for so many pages more than the one it has, and answers 200 if it has them all, down to the last byte.
fn grows_by(pages: u32) -> String {
    let last = (pages + 1) * PAGE - 1;
    format!(
        "(if (i32.eq (memory.grow (i32.const {pages})) (i32.const -1))
             (then (call $answer (local.get $out) (i32.const 507)))
             (else
                 (i32.store8 (i32.const {last}) (i32.const 1))
                 (call $answer (local.get $out) (i32.const 200))))"
    )
}

/// try: memory to the last byte of `--max-memory-size`, and a page more | it has it; the guest is refused, counted | nobody
#[test]
fn to_the_last_page() {
    // As many whole pages as fit.
    for (limit, pages) in [("16MiB", 256), ("1000000", 15)] {
        for (more, status, reached) in [(0, 200, &[][..]), (1, 507, &[("max-memory-size", 2)])] {
            let handle = grows_by(pages - 1 + more);
            let guest = Guest { handle: &handle, memories: "(memory 1)", ..Guest::default() };
            let server = guest.start(&["--max-memory-size", limit]);
            let worker = server.worker();
            // The second one has memory of its own.
            for _ in 0..2 {
                server.get("/").expect_status(status);
            }
            expect_reached(&server, reached);
            assert_eq!(server.worker(), worker, "{}", server.explain());
        }
    }
}

/// try: a page more, for ever, without minding that there is none | 504 after `--timeout`, said once, counted once | nobody
#[test]
fn without_end() {
    let handle = "(loop (drop (memory.grow (i32.const 1))) (br 0))";
    let guest = Guest { handle, memories: "(memory 1)", ..Guest::default() };
    let server = guest.start(&["--max-memory-size", "16MiB", "--timeout", "1s"]);
    let worker = server.worker();
    server.get("/").expect_status(504);
    expect_reached(&server, &[("max-memory-size", 1), ("timeout", 1)]);
    assert_eq!(said(&server, "the guest wanted more than 16777216 bytes of memory"), 1);
    assert_eq!(server.worker(), worker, "{}", server.explain());
}

/// try: two memories, each within `--max-memory-size` and both together not | the guest is refused, counted | nobody
#[test]
fn in_several_memories() {
    let of_another = r#"(import "host" "errors" (memory $other 0)) (memory $own 1)"#;
    let of_one_module = "(memory $own 1) (memory $other 0)";
    let cases = [(128, 200, &[][..]), (129, 507, &[("max-memory-size", 2)])];
    for (memories, (pages, status, reached)) in
        [of_another, of_one_module].into_iter().flat_map(|memories| cases.map(|case| (memories, case)))
    {
        let handle = format!(
            "(call $answer (local.get $out) (select (i32.const 507) (i32.const 200) (i32.or
                (i32.eq (memory.grow $own (i32.const 127)) (i32.const -1))
                (i32.eq (memory.grow $other (i32.const {pages})) (i32.const -1)))))"
        );
        let guest = Guest { handle: &handle, memories, ..Guest::default() };
        let server = guest.start(&["--max-memory-size", "16MiB"]);
        let worker = server.worker();
        for _ in 0..2 {
            server.get("/").expect_status(status);
        }
        expect_reached(&server, reached);
        assert_eq!(server.worker(), worker, "{}", server.explain());
    }
}
