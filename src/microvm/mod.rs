//! Machines: what one is asked to be, what is there, the plan between the two, and the steps.

mod asked;
mod change;
mod diagnosis;
mod environment;
pub mod evidence;
mod fork;
mod frozen;
mod golden;
mod idle;
mod kept;
mod keys;
mod leftover;
mod mount;
mod net;
mod observed;
pub mod overlay;
mod plan;
mod port;
mod publish;
mod secret;
pub mod session;
pub mod snapshot;
mod spec;
pub mod ssh;
mod steps;
mod timeline;
mod usage;
mod user;

pub use crate::image::ImageName;
pub use crate::network::Policy;
pub use asked::{Changes, came_and_went, refuse_conflict, refuse_port_conflict};
pub use change::{Change, at_next_start, grow, grows_now, move_to, rename, reset, set, write_change};
pub use diagnosis::{Diagnosis, Remains, diagnose, stands, why};
pub use environment::{Environment, is_name as is_variable_name};
pub use fork::{Forked, Told, fork, told};
pub use frozen::{Frozen, Thaw};
pub use golden::Golden;
pub use idle::Idle;
pub use kept::{Kept, list as golden_memories};
pub use leftover::{Kind as LeftoverKind, Leftover, leftovers, remove_leftovers};
pub use mount::{GuestPath, MountSpec};
pub use net::{Restriction, refuse_without_resolver, restrict, traffic};
pub use observed::{
    Device, HostFacts, ImageState, Kvm, Machine, Observed, Probed, Program, Running, Scope, State,
    UserNamespaces, look,
};
pub use plan::{Goal, Lacking, Step, Wanted, pending, plan, readable_spec};
pub use port::{Listen, Port, Protocol};
pub use publish::{PortState, PortStates, Publication, forwarder, publish, socket};
pub use secret::{Secret, SecretSource};
pub use spec::{DiskSize, MachineName, Memory, Spec, VmmChoice};
pub use steps::{
    Created, GONE, How, Started, Stopped, Suspended, Trouble, create, destroy, destroy_all, leash, start,
    stop, suspend, suspended, with_idle,
};
pub use timeline::{Timeline, timeline};
pub use usage::{Sample, Usage, usage};
pub use user::UserName;

#[cfg(test)]
pub(crate) fn sample_spec() -> Spec {
    Spec {
        version: Spec::VERSION,
        name: "web".parse().unwrap(),
        image: ImageName::default(),
        image_id: "abc".into(),
        cpus: 2,
        memory_mib: Memory::from_mib(512),
        disk_bytes: DiskSize::from_bytes(10 << 30),
        vmm: VmmChoice::Auto,
        env: Environment::default(),
        created: 1,
        user: None,
        idle: None,
        mounts: Vec::new(),
        ports: Vec::new(),
        net: Policy::Open,
    }
}

#[cfg(test)]
pub(crate) fn sample_machine(state: State) -> Machine {
    Machine {
        name: "web".parse().unwrap(),
        spec: Ok(sample_spec()),
        state,
        image_id: Some("abc".into()),
        started_with: None,
        keys: None,
        disk_used: 0,
        disk_size: 0,
        memory_used: 0,
        ports: PortStates::new(),
        half_suspended: false,
        snapshots: 0,
        began: false,
    }
}
