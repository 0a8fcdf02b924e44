//! A host that lies: one test for each lie. Each lie has its name, changes nothing, and the vault
//! goes on with an honest host afterwards (DESIGN §14.5).
#![allow(clippy::unwrap_used, missing_docs)]

mod anchor;
mod envelopes;
mod leading;
mod leaves;
mod notarise;
mod proofs;
mod release;
mod resume;

use strongroom_sim::phone::Phone;
use strongroom_sim::world::{Registered, World, bearer};
use strongroom_wire::frame::{HsmError, Request, Response};

/// A world with one registered user.
fn begun(seed: u64) -> (World, Phone, Registered) {
    let mut world = World::new(seed);
    let phone = world.phone(&bearer(), "user");
    let registered = world.register(&phone, "right", None);
    (world, phone, registered)
}

/// Asks for something that must be refused by that name and change nothing.
#[track_caller]
fn refused(world: &mut World, request: Request, error: HsmError) {
    let before = world.standing();
    let response = world.ask(request);
    assert_eq!(response, Response::Error(error));
    assert_eq!(
        world.standing(),
        before,
        "a refused request changes nothing"
    );
}

/// An honest round works, for somebody new and for the user there is.
#[track_caller]
fn goes_on(world: &mut World, phone: &Phone) {
    world.seal().unwrap();
    let other = world.phone(&bearer(), "somebody new");
    world.register(&other, "another code", None);
    world.recover(phone, "right");
}

#[test]
fn an_honest_world_leads_everywhere() {
    let mut world = World::new(1);
    for issuer in [bearer(), strongroom_sim::world::bound()] {
        let phone = world.phone(&issuer, "user");
        let registered = world.register(&phone, "right", None);
        let (root, _) = world.recover(&phone, "right");
        assert_eq!(root.expose(), registered.owner.root.expose());
    }
}
