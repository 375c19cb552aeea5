//! The learned policy, made to believe that no change costs less than is typical, or than a multiple of it:
//! where changes cost little, it makes more of them than pay.

use halcyon_model::describe::typical;
use halcyon_model::{Capabilities, ChangeKind, Control, Proposal, World};
use halcyon_policy::{Policy, View};

pub(super) struct Careful {
    inner: Box<dyn Policy + Send>,
    believed: Capabilities,
}

impl Careful {
    pub(super) fn new(inner: Box<dyn Policy + Send>, capabilities: &Capabilities, times: u32) -> Self {
        Self { inner, believed: believed(capabilities, times) }
    }

    /// Whether it believes something else than what is so.
    pub(super) fn differs(capabilities: &Capabilities, times: u32) -> bool {
        let believed = believed(capabilities, times);
        ChangeKind::ALL.into_iter().any(|kind| believed.get(kind) != capabilities.get(kind))
    }
}

impl Policy for Careful {
    fn name(&self) -> &'static str {
        "careful"
    }

    fn decide(&mut self, view: &View<'_>) -> Proposal {
        let mut believed = self.believed.clone();
        for kind in ChangeKind::ALL.into_iter().filter(|kind| !view.world.capabilities.allows(*kind)) {
            believed = believed.with(kind, None);
        }
        let world = World { capabilities: &believed, ..view.world };
        self.inner.decide(&View { world, ..*view })
    }
}

fn believed(capabilities: &Capabilities, times: u32) -> Capabilities {
    let typical = typical();
    ChangeKind::ALL.into_iter().fold(capabilities.clone(), |all, kind| {
        let dearer = |is: &Control, typical: &Control| Control {
            latency: is.latency.max(typical.latency * times),
            interruption: is.interruption.max(typical.interruption * times),
            cost_s: is.cost_s.max(typical.cost_s * f64::from(times)),
            ..*is
        };
        let control = capabilities.get(kind).zip(typical.get(kind)).map(|(is, usual)| dearer(is, usual));
        all.with(kind, control)
    })
}
