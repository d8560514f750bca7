use wasmcluster_core::component::provided;
use wasmtime::component::Component;

use super::*;
use crate::engine;

#[test]
fn everything_listed_as_provided_is_in_the_linker() {
    for shape in [Shape::P2, Shape::P3] {
        let engine = engine::compiler(shape).expect("an engine");
        let linker = linker(&engine, shape).expect("a linker");
        for (interface, version) in provided() {
            if shape == Shape::P2 && version.starts_with("0.3") {
                continue;
            }
            let text = format!(r#"(component (import "{interface}@{version}" (instance)))"#);
            let bytes = wat::parse_str(&text).expect("valid text");
            let component = Component::from_binary(&engine, &bytes).expect("valid component");
            linker
                .instantiate_pre(&component)
                .map(drop)
                .unwrap_or_else(|error| panic!("{interface}@{version}: {error:#}"));
        }
    }
}
