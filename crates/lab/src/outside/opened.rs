//! What a world says first, and whether that can be.

use std::sync::Arc;
use std::time::Duration;

use halcyon_hal::Inventory;
use halcyon_model::{Assignment, Capabilities, Topology, VmSpec, check};

use super::error::{Flaw, ensure};
use super::{decode, encode, wire};

/// The most cycles that a world may ask for: a year of steps of a tenth of a second, and more.
const MOST_CYCLES: f64 = 1e9;

/// What the first message of a world says.
pub(super) struct Opened {
    pub(super) inventory: Inventory,
    pub(super) names: decode::Names,
    pub(super) held: Assignment,
    pub(super) duration: Duration,
    pub(super) step: Duration,
}

impl Opened {
    pub(super) fn new(form: &wire::World) -> Result<Self, Flaw> {
        let duration = decode::time(|| "duration_s".into(), form.duration_s)?;
        let step = decode::time(|| "step_s".into(), form.step_s)?;
        let fits =
            !step.is_zero() && step <= duration && duration.as_secs_f64() / step.as_secs_f64() <= MOST_CYCLES;
        ensure(
            fits,
            || "step_s".into(),
            || {
                format!(
                    "is {}; a run of {} s needs a step that is above 0 and not longer",
                    form.step_s, form.duration_s
                )
            },
        )?;
        let topology: Topology = decode::host(&form.host)?;
        let capabilities: Capabilities = decode::capabilities(&form.changes)?;
        let mut names = decode::Names::default();
        let vms = decode::vms(&mut names, &topology, &form.vms)?;
        let inventory = Inventory { topology, vms, capabilities, profiles: Arc::default() };
        let held = held(&inventory, &names, &form.held)?;
        Ok(Self { inventory, names, held, duration, step })
    }
}

/// What is held, if it keeps every rule.
pub(super) fn held(
    inventory: &Inventory,
    names: &decode::Names,
    form: &wire::Held,
) -> Result<Assignment, Flaw> {
    let held = decode::held(&inventory.topology, &inventory.vms, names, form)?;
    check(inventory.world(), &held).map_err(|broken| Flaw::new("held", broken.to_string()))?;
    Ok(held)
}

/// The first thing in which two assignments of the same VMs differ: the field, and how.
pub(super) fn difference(vms: &[VmSpec], led_to: &Assignment, said: &Assignment) -> (String, String) {
    let differs = led_to.holdings.iter().zip(&said.holdings).find(|(led_to, said)| led_to != said);
    if let Some((led_to, said)) = differs {
        let what = |name: &str, said: &dyn std::fmt::Display, led_to: &dyn std::fmt::Display| {
            format!("{name} is {said}, but the steps led to {led_to}")
        };
        let problem = if said.socket != led_to.socket {
            what("socket", &said.socket, &led_to.socket)
        } else if said.cpu != led_to.cpu {
            what("CPU time", &said.cpu, &led_to.cpu)
        } else if said.memory_bandwidth != led_to.memory_bandwidth {
            what("memory bandwidth", &said.memory_bandwidth, &led_to.memory_bandwidth)
        } else if said.memory != led_to.memory {
            what("memory in all", &said.total_memory(), &led_to.total_memory())
        } else {
            what("class of service", &said.class, &led_to.class)
        };
        let name = encode::name(vms, led_to.vm);
        return ("held.vms".into(), format!("of VM `{name}`, {problem}"));
    }
    let field = if led_to.devices != said.devices {
        "held.devices"
    } else if led_to.links != said.links {
        "held.links"
    } else if led_to.classes != said.classes {
        "held.classes"
    } else {
        "held.gpu_instances"
    };
    (field.into(), "is not what the steps led to".into())
}
