//! What the learned policy sees: each VM as a row of numbers, and the host as one more.
//!
//! Every figure is a share of what the host or the VM can have, or a logarithm of such a share, so that a
//! host of twice the size with twice the use looks the same. Each lies within ±[`MOST`] and is a number,
//! whatever a snapshot holds. A quantity that the host does not measure is zero, and a feature of its own
//! says that it is there: nobody has to guess which zeros are real.
//!
//! A feature's name, its meaning and the code that computes it stand in one line of one table, from
//! which the documentation is written. [`Features::digest`] names that table: weights that were learned
//! with another one do not fit.
//!
//! ```text
//!  View ──tally──► sums per socket, node, class, VM ──columns──► per_vm (N × PER_VM), host (HOST)
//! ```

mod columns;
mod host;
mod table;
mod tally;
mod vm;

pub use table::Feature;

use halcyon_model::profile::Response;

use crate::View;
use host::Host;
use tally::Tally;
use vm::{CacheEffects, Vm};

/// No feature is farther from zero than this.
pub const MOST: f64 = 8.0;

/// What is seen of each VM, in the order of a row.
pub const TABLE: [Feature; Features::PER_VM] = table::list(&columns::GROUPS);

/// What is seen of the host, in order.
pub const HOST_TABLE: [Feature; Features::HOST] = table::list(&host::GROUPS);

/// How a VM's program is taken to respond where it has no profile of its own.
#[derive(Debug, Clone, Copy)]
pub struct Likely<'a> {
    /// How a program responds that looks like it.
    pub response: &'a Response,
    /// How sure that is, 0 to 1.
    pub confidence: f64,
}

/// What the learned policy sees of one moment. Buffers are kept from one moment to the next, and nothing
/// is allocated once they are large enough.
#[derive(Debug, Clone, Default)]
pub struct Features {
    /// One row of [`Features::PER_VM`] numbers for each VM, in the order of the VMs, row after row.
    pub per_vm: Vec<f32>,
    /// [`Features::HOST`] numbers.
    pub host: Vec<f32>,
    /// The socket that each VM runs on, as an index; always one of the host's.
    pub socket: Vec<usize>,
    tally: Tally,
    effects: Vec<Option<CacheEffects>>,
}

impl Features {
    /// Features of one VM.
    pub const PER_VM: usize = table::count(&columns::GROUPS);
    /// Features of the host.
    pub const HOST: usize = table::count(&host::GROUPS);

    /// Takes in a moment; what was there before is gone.
    pub fn observe(&mut self, view: &View<'_>) {
        self.observe_with(view, &|_| None);
    }

    /// As [`Features::observe`]; for a VM without a profile, `likely` is asked by its position.
    pub fn observe_with<'a>(&mut self, view: &View<'a>, likely: &dyn Fn(usize) -> Option<Likely<'a>>) {
        self.tally.take(view);
        self.host.clear();
        self.socket.clear();
        self.effects.resize(view.world.vms.len(), None);
        // What was there is written over.
        self.per_vm.resize(view.world.vms.len() * Self::PER_VM, 0.0);
        for (position, row) in self.per_vm.chunks_exact_mut(Self::PER_VM).enumerate() {
            let known =
                view.application(position).map(|found| Likely { response: &found.response, confidence: 1.0 });
            let program = known.or_else(|| likely(position));
            let vm =
                Vm::new(view, &self.tally, position, known.is_some(), program, &mut self.effects[position]);
            self.socket.push(vm.place);
            let mut row = row.iter_mut();
            for columns in columns::GROUPS {
                columns.iter().zip(row.by_ref()).for_each(|(column, value)| *value = tame((column.of)(&vm)));
            }
        }
        let host = Host { view, tally: &self.tally };
        self.host.extend(host::GROUPS.iter().copied().flatten().map(|column| tame((column.of)(&host))));
    }

    /// The row of the VM at `position`; empty where there is none.
    #[must_use]
    pub fn row(&self, position: usize) -> &[f32] {
        let rows = self.per_vm.get(position.saturating_mul(Self::PER_VM)..).unwrap_or_default();
        rows.get(..Self::PER_VM).unwrap_or_default()
    }

    /// A name for the set of features and their order: 64 bits of FNV-1a over all names, as 16 hexadecimal
    /// digits.
    #[must_use]
    pub fn digest() -> String {
        table::digest(&TABLE, &HOST_TABLE)
    }

    /// The page of the documentation that lists the features.
    #[must_use]
    pub fn page() -> String {
        table::page(&TABLE, &HOST_TABLE)
    }
}

/// Within bounds, and a number.
#[allow(clippy::cast_possible_truncation)]
fn tame(value: f64) -> f32 {
    if value.is_nan() { 0.0 } else { value.clamp(-MOST, MOST) as f32 }
}

/// A part of a whole; zero of a whole that is not there.
fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// A share as the number of times that it can be doubled up to one, below zero; the least for none.
fn doublings(share: f64) -> f64 {
    libm::log2(share.max(0.0))
}

/// A count as doublings from one on, so that none is zero.
fn count(number: f64) -> f64 {
    libm::log2(1.0 + number.max(0.0))
}

fn bit(there: bool) -> f64 {
    f64::from(u8::from(there))
}
