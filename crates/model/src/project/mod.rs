//! Turns any proposal into what is feasible and as near to it as simple rules allow.
//!
//! Wishes are moved into each VM's bounds; where a socket, node or link is asked for more than it has,
//! what exceeds the reservations is scaled down alike; a discrete wish that cannot be is left out. For
//! any proposal, garbage included, the result keeps every rule of the checker, provided that what is
//! held now keeps them. Bounds may have changed since: CPU time, memory bandwidth, memory, the bandwidth
//! of devices and GPU slices are moved into them without a wish, as far as there is room.
//!
//! What is wished for is rounded down to the granularity of its control, with two exceptions: a bound
//! wins over the granularity, and a wish for exactly what is held is not rounded, so that wishing for
//! what one has changes nothing.

mod compute;
mod fabric;
mod memory;
mod partitions;

use crate::assignment::{Assignment, Grant};
use crate::capability::{ChangeKind, Families, Family};
use crate::proposal::{Proposal, VmWish, Wish};
use crate::units::{Bandwidth, ByteSize, MilliCpu};
use crate::vm::Bounds;
use crate::world::World;

/// Projects a proposal to a feasible assignment.
///
/// `held` must be feasible, but for bounds that changed since. The families in `frozen` stay as they are, as does everything that
/// `world.capabilities` cannot change. Costs O(VMs + devices × depth of the fabric) for each socket and
/// memory node, of which there are few; where wishes for memory do not fit, twice per node more at most.
#[must_use]
pub fn project(world: World<'_>, held: &Assignment, frozen: Families, proposal: &Proposal) -> Assignment {
    let mut target = held.clone();
    let wishes = wishes_by_position(world, proposal);
    if !frozen.contains(Family::Compute) {
        compute::project_compute(world, &wishes, &mut target);
    }
    if !frozen.contains(Family::Memory) && world.capabilities.allows(ChangeKind::Memory) {
        memory::project_memory(world, &wishes, &mut target);
    }
    if !frozen.contains(Family::Fabric) {
        fabric::project_devices(world, &proposal.devices, &mut target);
        fabric::project_links(world, proposal, &mut target);
        fabric::project_device_bandwidth(world, held, proposal, &mut target);
    }
    if !frozen.contains(Family::Cache) {
        partitions::project_cache(world, proposal, &wishes, &mut target);
    }
    if !frozen.contains(Family::Gpu) && world.capabilities.allows(ChangeKind::GpuInstance) {
        partitions::project_gpus(world, proposal, &mut target);
    }
    target
}

fn wishes_by_position<'p>(world: World<'_>, proposal: &'p Proposal) -> Vec<Option<&'p VmWish>> {
    let mut wishes = vec![None; world.vms.len()];
    for wish in &proposal.vms {
        if let Some(position) = world.position(wish.vm) {
            wishes[position].get_or_insert(wish);
        }
    }
    wishes
}

/// Quantities that a wish can be made for.
trait Quantity: Copy + Ord + Default + std::ops::Add<Output = Self> + std::ops::AddAssign {
    fn from_wish(raw: f64) -> Self;
    fn raw(self) -> u64;
    fn new(raw: u64) -> Self;
}

macro_rules! quantity {
    ($name:ident) => {
        impl Quantity for $name {
            fn from_wish(raw: f64) -> Self {
                Self::from_f64(raw)
            }
            fn raw(self) -> u64 {
                self.get()
            }
            fn new(raw: u64) -> Self {
                $name::new(raw)
            }
        }
    };
}
quantity!(MilliCpu);
quantity!(ByteSize);
quantity!(Bandwidth);

/// What is held, moved into bounds that may have changed since.
fn clamp_held<T: Quantity>(held: Grant<T>, bounds: Bounds<T>) -> Grant<T> {
    let share = bounds.clamp(held.share);
    Grant { share, ceiling: bounds.clamp(held.ceiling).max(share) }
}

/// A wish within bounds; a wish that is not a number is none.
fn clamp_wish<T: Quantity>(
    wish: Option<&Wish>,
    held: Grant<T>,
    bounds: Bounds<T>,
    granularity: u64,
) -> Grant<T> {
    let Some(wish) = wish.filter(|wish| !wish.share.is_nan() && !wish.ceiling.is_nan()) else {
        return clamp_held(held, bounds);
    };
    let share = bounds.clamp(round_wish(wish.share, held.share, granularity));
    let ceiling = bounds.clamp(round_wish(wish.ceiling, held.ceiling, 1)).max(share);
    Grant { share, ceiling }
}

/// Rounds down, but leaves what is held as it is.
fn round_wish<T: Quantity>(wish: f64, held: T, granularity: u64) -> T {
    #[allow(clippy::cast_precision_loss)]
    let unchanged = wish == held.raw() as f64;
    if unchanged { held } else { floor_to(T::from_wish(wish), granularity) }
}

fn floor_to<T: Quantity>(amount: T, granularity: u64) -> T {
    if granularity <= 1 { amount } else { T::new(amount.raw() - amount.raw() % granularity) }
}

/// Scales what exceeds the reservations so that the shares add up to at most `capacity`.
/// The reservations themselves must fit.
fn fit<T: Quantity>(grants: &mut [(&mut Grant<T>, T)], capacity: T, granularity: u64) {
    // Shares may be as large as their type; their sum is not cut off, as the scale would be wrong then.
    let sum = |amounts: &mut dyn Iterator<Item = T>| amounts.map(|next| u128::from(next.raw())).sum::<u128>();
    let asked = sum(&mut grants.iter().map(|(grant, _)| grant.share));
    if asked <= u128::from(capacity.raw()) {
        return;
    }
    // A state that was read may hold less than is reserved.
    let firm = sum(&mut grants.iter().map(|(grant, reservation)| grant.share.min(*reservation)));
    let (room, extra) = (u128::from(capacity.raw()).saturating_sub(firm), asked - firm);
    for (grant, reservation) in grants.iter_mut().filter(|(grant, reservation)| grant.share > *reservation) {
        let above = u128::from(grant.share.raw() - reservation.raw());
        // Rounded down, so the sum cannot exceed the room.
        let kept = u64::try_from(above * room / extra).unwrap_or(0);
        grant.share = floor_to(T::new(reservation.raw() + kept), granularity).max(*reservation);
    }
}
