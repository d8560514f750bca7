use proptest::prelude::*;

use super::laws::any_text_is_read_as_it_is_written;
use super::*;
use crate::control::{FromSupervisor, ToSupervisor};
use crate::history::Entry;
use crate::laws::cases;

/// Messages as they look on the wire, and a history as it looks on a disk. One of each kind that is made in its own way.
const TEXTS: [&str; 10] = [
    r#"{"start":{"worker":5,"slot":0,"generation":3,"shape":"p3","needs":{"memories":1,"initial_memory":1114112,"tables":2,"initial_table":97},"guest":{"env":[["A","b"]],"dirs":[{"host":"/srv","guest":"data","writable":false}],"config":[],"outbound":["*.example.org:443"],"limits":{"memory_size":268435456,"table_elements":20000,"core_instances":100,"resources":10000,"hostcall_size":16777216,"field_size":131072,"outbound_requests":1000,"concurrent_outbound_requests":100,"outbound_size":1073741824,"log_lines":10000,"log_size":4194304},"compile":{"time":{"secs":300,"nanos":0},"memory":4294967296},"isolation":"fast","coredump":"/srv/dumps","sandbox":"best_effort","user":{"name":"www-data","uid":33,"gid":33,"groups":[4,33]},"max_instance_reuse_count":null,"idle_instance_timeout":{"secs":1,"nanos":0}},"serving":{"timeout":{"secs":2,"nanos":0},"header_timeout":{"secs":10,"nanos":0},"body_timeout":{"secs":30,"nanos":0},"keep_alive_timeout":{"secs":75,"nanos":0},"max_header_size":65536,"max_target_size":8192,"max_headers":100,"max_body_size":134217728,"max_response_size":null,"max_response_rate":null,"max_concurrent_requests":256,"max_waiting_requests":1024,"max_connections":4096,"max_connections_per_address":3840,"max_keep_alive_requests":100000,"max_http2_streams":128,"max_http2_resets":20,"trusted_proxies":["10.0.0.0/8","fd00::/64"],"probe":null,"max_requests":null,"max_memory":null,"dev":true}}}"#,
    r#"{"ready":{"reset":{"decommit":{"reason":"no"}},"confinement":{"partial":{"missing":["Landlock"]}},"user":{"name":"www-data","uid":33,"gid":33,"groups":[4,33]},"instance":{"secs":0,"nanos":21000}}}"#,
    r#"{"pulse":{"served":{"requests":2,"errors":1,"traps":1,"took":[0,0,0,0,0,1,1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]},"reached":{"timeout":1,"max-body-size":2}}}"#,
    r#"{"report":{"kind":"trap","message":"the guest trapped","hint":null,"backtrace":[{"function":"handle","index":3,"module":null,"offset":77}],"request":"5f3c"}}"#,
    r#"{"build":{"name":"app.wasm","expected":null,"keep":true,"limits":{"time":{"secs":300,"nanos":0},"memory":4294967296},"sandbox":"required"}}"#,
    r#"{"built":{"artifact":"a.cwasm","shape":"p2","needs":{"memories":1,"initial_memory":1,"tables":2,"initial_table":63},"digest":"ab","bytes":77365,"not_kept":null,"cached":true,"single_use":false,"replaced_damaged":false}}"#,
    r#"{"logs":{"last":18446744073709551615,"follow":true}}"#,
    r#"{"ended":{"outcome":"given_up","generation":6,"serving":5,"abort":"refused","reason":"it traps"}}"#,
    r#"{"record":{"at":1795717716596,"record":{"record":"cluster","pid":null,"notice":"rollout_aborted","generation":6,"abort":"refused","reason":"it traps"}}}"#,
    r#"[{"generation":4,"component":"app.wasm","digest":"ab","bytes":77365,"at":1795717706045,"way":"rollback","to":2,"fate":"given_up","abort":"stopping"}]"#,
];

#[test]
fn messages_look_like_this() {
    for text in TEXTS {
        let reads = [
            serde_json::from_str::<ToWorker>(text).is_ok(),
            serde_json::from_str::<FromWorker>(text).is_ok(),
            serde_json::from_str::<ToBuilder>(text).is_ok(),
            serde_json::from_str::<FromBuilder>(text).is_ok(),
            serde_json::from_str::<ToSupervisor>(text).is_ok(),
            serde_json::from_str::<FromSupervisor>(text).is_ok(),
            serde_json::from_str::<Vec<Entry>>(text).is_ok(),
        ];
        assert_eq!(reads.into_iter().filter(|reads| *reads).count(), 1, "{text}");
        any_text_is_read_as_it_is_written(text.as_bytes());
    }
}

proptest! {
    #![proptest_config(cases(512))]

    /// Numbers, words and structure that are nearly right.
    #[test]
    fn any_text(
        which in 0..TEXTS.len(),
        at: prop::sample::Index,
        taken in ..12_usize,
        junk in prop_oneof!["", "[0-9]{1,20}", r#"[\[\]{}":,a-z-]{1,3}"#, "null", ".{0,4}"],
    ) {
        let mut text = TEXTS[which].as_bytes().to_owned();
        let at = at.index(text.len());
        let end = text.len().min(at + taken);
        text.splice(at..end, junk.into_bytes());
        any_text_is_read_as_it_is_written(&text);
    }
}
