//! C7, second half: the operator's keys make no users.

use super::refusal;
use strongroom_crypto::statement::{Label, SigningKey};
use strongroom_crypto::wrap::Root;
use strongroom_sim::host::{Issuer, admin, issuer_change};
use strongroom_sim::phone::Phone;
use strongroom_sim::world::{Opening, World, bearer};
use strongroom_wire::answer::{Answer, Refusal};
use strongroom_wire::frame::{HsmError, LeafBytes, LeftOutReason, Request, Response};
use strongroom_wire::tenant::{IssuerKey, SignedTenantChange, TenantChange, TenantRefusal};

/// Asks for a change of a tenant, honestly; seals it if it is proposed.
fn change(world: &mut World, issuer: &str, change: SignedTenantChange) -> Option<TenantRefusal> {
    let request = world.host.tenancy(issuer, change);
    match world.ask(request) {
        Response::TenantRefused(refusal) => Some(refusal),
        Response::Proposed { .. } => {
            world.seal().unwrap();
            None
        }
        other => panic!("a change is proposed or refused: {other:?}"),
    }
}

fn new_keys(world: &World, issuer: &Issuer, version: u64, keys: Vec<IssuerKey>) -> TenantChange {
    TenantChange::Keys {
        fleet: world.host.manifest().fleet_id(),
        issuer: issuer.name.clone(),
        version,
        keys,
    }
}

fn root_of(issuer: &Issuer) -> SigningKey {
    SigningKey::from_seed(&issuer.root_seed)
}

/// The same tenant after its keys changed.
fn rotated(issuer: &Issuer) -> Issuer {
    Issuer {
        token_seed: [99; 32],
        ..issuer.clone()
    }
}

#[test]
fn c7_the_admin_key_cannot_add_issuer_keys() {
    let mut world = World::new(60);
    let tenant = bearer();
    let keys = rotated(&tenant).keys();
    let wanted = new_keys(&world, &tenant, 2, keys);
    for label in [Label::TenantCreate, Label::TenantKeys] {
        let signed = issuer_change(&wanted, &admin(), label);
        let refused = change(&mut world, &tenant.name, signed);
        assert_eq!(refused, Some(TenantRefusal::WrongSigner));
    }
    let minted = world.phone(&rotated(&tenant), "user");
    let (_, answer) = world.guess(&minted, "code");
    assert_eq!(refusal(answer), Refusal::WrongTokenOrTenant);
    let signed = issuer_change(&wanted, &root_of(&tenant), Label::TenantKeys);
    assert_eq!(change(&mut world, &tenant.name, signed), None);
    let (_, answer) = world.guess(&minted, "code");
    assert_eq!(refusal(answer), Refusal::NeverRegistered);
}

#[test]
fn c7_an_issuer_belongs_to_one_tenant_for_ever() {
    let mut world = World::new(61);
    let fleet = world.host.manifest().fleet_id();
    let usurper = Issuer::new(&bearer().name, 70, true);
    let refused = change(&mut world, &usurper.name, usurper.creation(fleet));
    assert_eq!(refused, Some(TenantRefusal::Exists));
    let minted = world.phone(&usurper, "user");
    let (_, answer) = world.guess(&minted, "code");
    assert_eq!(refusal(answer), Refusal::WrongTokenOrTenant);
}

#[test]
fn c7_a_tenant_is_created_by_the_admin_key_for_this_fleet() {
    let mut world = World::new(62);
    let issuer = Issuer::new("https://third.example", 70, true);
    let elsewhere = World::new(63).host.manifest().fleet_id();
    let refused = change(&mut world, &issuer.name, issuer.creation(elsewhere));
    assert_eq!(refused, Some(TenantRefusal::Invalid));
    let create = TenantChange::Create {
        fleet: world.host.manifest().fleet_id(),
        tenant: issuer.tenant(),
    };
    let signed = issuer_change(&create, &root_of(&issuer), Label::TenantCreate);
    let refused = change(&mut world, &issuer.name, signed);
    assert_eq!(refused, Some(TenantRefusal::WrongSigner));
}

#[test]
fn c7_a_replayed_change_of_keys_changes_nothing() {
    let mut world = World::new(64);
    let tenant = bearer();
    let root = root_of(&tenant);
    let to_new = new_keys(&world, &tenant, 2, rotated(&tenant).keys());
    let to_new = issuer_change(&to_new, &root, Label::TenantKeys);
    let and_back = new_keys(&world, &tenant, 3, tenant.keys());
    let and_back = issuer_change(&and_back, &root, Label::TenantKeys);
    assert_eq!(change(&mut world, &tenant.name, to_new.clone()), None);
    let refused = change(&mut world, &tenant.name, to_new.clone());
    assert_eq!(refused, Some(TenantRefusal::StaleVersion));
    assert_eq!(change(&mut world, &tenant.name, and_back), None);
    let refused = change(&mut world, &tenant.name, to_new);
    assert_eq!(refused, Some(TenantRefusal::StaleVersion));
}

#[test]
fn c7_a_tenants_leaf_is_proved_before_it_is_changed() {
    let mut world = World::new(65);
    let tenant = bearer();
    let key = world.host.tenant_key(&tenant.name);
    let old = world.host.leaf(&key.0).unwrap();
    let wanted = new_keys(&world, &tenant, 2, rotated(&tenant).keys());
    let signed = issuer_change(&wanted, &root_of(&tenant), Label::TenantKeys);
    assert_eq!(change(&mut world, &tenant.name, signed.clone()), None);
    let proof = world.host.prove(&[key.0]);
    for leaf in [Some(old), Some(LeafBytes(vec![1; 64])), None] {
        let lie = Request::ProposeTenant {
            change: signed.clone(),
            proof: proof.clone(),
            leaf,
        };
        assert_eq!(world.ask(lie), Response::Error(HsmError::LeafForged));
    }
}

/// Evaluates a letter with another leaf of its tenant.
fn evaluate_under(
    world: &mut World,
    phone: &Phone,
    leaf: Vec<u8>,
) -> (Response, strongroom_wire::Handle) {
    let letter = phone.last().unwrap();
    let Opening::Waits(handle) = world.open(&letter) else {
        panic!("a start waits")
    };
    let Request::Evaluate { record, .. } = world.host.evaluation(handle) else {
        panic!("an evaluation")
    };
    let response = world.ask(Request::Evaluate {
        handle,
        record,
        tenant: Some(LeafBytes(leaf)),
    });
    (response, handle)
}

/// A registration begun under a tenant's leaf that is not the proved one must not end: the start is
/// answered from what the host brings, and the finish carries no token.
fn registers_nothing(world: &mut World, phone: &Phone, leaf: Vec<u8>) {
    let registering = phone.register_start("squatted", world.now());
    evaluate_under(world, phone, leaf.clone());
    let (_, answer) = world.take_answers().remove(0);
    let Answer::RegisterStarted(started) = answer else {
        panic!("the start believes its host: {answer:?}")
    };
    let root = Root::generate(&phone.entropy);
    let stored = (&root, phone.op(world.now()));
    let finish = phone.register_finish(registering, &started, stored, None);
    let answer = world.send(&finish.unwrap());
    assert_eq!(refusal(answer), Refusal::StaleTicket);
    // Nothing else that needs a token goes through either.
    let now = world.now();
    phone.recover_start("squatted", phone.attempt(now), now);
    let (_, handle) = evaluate_under(world, phone, leaf);
    let left_out = world.propose(&[handle]);
    assert_eq!(left_out, Ok(vec![LeftOutReason::LeafMissing]));
    world.seal().unwrap();
    assert!(world.take_answers().is_empty());
}

#[test]
fn c7_an_issuer_key_that_was_taken_out_registers_nothing() {
    let mut world = World::new(66);
    let tenant = bearer();
    let key = world.host.tenant_key(&tenant.name);
    let old = world.host.leaf(&key.0).unwrap().0;
    let wanted = new_keys(&world, &tenant, 2, rotated(&tenant).keys());
    let signed = issuer_change(&wanted, &root_of(&tenant), Label::TenantKeys);
    assert_eq!(change(&mut world, &tenant.name, signed), None);
    let thief = world.phone(&tenant, "never registered");
    registers_nothing(&mut world, &thief, old);
}

/// The operator proposes a tenant of its own under an issuer's name, keeps the sealed leaf, and
/// lets the branch die before the issuer's true tenant is created.
#[test]
fn c7_a_tenant_of_a_branch_that_died_registers_nobody() {
    let mut world = World::new(67);
    let fleet = world.host.manifest().fleet_id();
    let usurper = Issuer::new("https://app.example", 70, true);
    let request = world.host.tenancy(&usurper.name, usurper.creation(fleet));
    let Response::Proposed { writes, .. } = world.ask(request) else {
        panic!("the admin key creates tenants")
    };
    world.restart().unwrap();
    let rightful = Issuer::new(&usurper.name, 80, true);
    world.host.create_tenant(&rightful);
    let minted = world.phone(&usurper, "somebody");
    registers_nothing(&mut world, &minted, writes[0].leaf.clone());
    let user = world.phone(&rightful, "somebody");
    world.register(&user, "code", None);
}
