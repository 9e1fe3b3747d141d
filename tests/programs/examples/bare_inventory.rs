//! A bare component with a resource: functions that can't be offered, beside one that can.

#![cfg_attr(not(target_family = "wasm"), allow(dead_code, reason = "not exported"))]

mod bindings {
    wit_bindgen::generate!({ path: "wit/inventory", world: "inventory" });
}

use bindings::exports::portreeve_test::inventory::room::{Guest, GuestShelf, Shelf, ShelfBorrow};

struct Program;

struct Labelled(String);

impl GuestShelf for Labelled {
    fn new(label: String) -> Self {
        Self(label)
    }

    fn label(&self) -> String {
        self.0.clone()
    }

    fn merge(left: Shelf, right: Shelf) -> Shelf {
        let labels = [left, right].map(|shelf| shelf.get::<Labelled>().label());
        Shelf::new(Labelled(labels.join(" and ")))
    }
}

impl Guest for Program {
    type Shelf = Labelled;

    fn open(label: String) -> Shelf {
        Shelf::new(Labelled(label))
    }

    fn count(which: ShelfBorrow<'_>) -> u32 {
        u32::from(!which.get::<Labelled>().0.is_empty())
    }

    fn stack(all: Vec<Option<Shelf>>) -> u32 {
        u32::try_from(all.iter().flatten().count()).unwrap_or(u32::MAX)
    }

    fn capacity() -> u32 {
        12
    }
}

#[cfg(target_family = "wasm")]
bindings::export!(Program with_types_in bindings);
