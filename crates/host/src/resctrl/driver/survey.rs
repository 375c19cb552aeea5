//! Who is where: the machine as it is, and threads that come and go.

use std::collections::{BTreeMap, BTreeSet};

use halcyon_model::{Assignment, CacheMask, ClassId, VmId};

use super::super::error::Error;
use super::super::files::Files;
use super::super::schemata::{Resource, Schemata};
use super::super::threads::Threads;
use super::super::tree::{class_group, path, vm_group};
use super::{CacheDriver, Followed, Member};
use crate::error_chain;

/// The threads of each class that there is.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) tasks: BTreeMap<ClassId, BTreeSet<u32>>,
}

impl Survey {
    /// The class that most of a VM's threads are in; where two have as many, the believed one. Nothing
    /// where all of them are in groups of somebody else, or have ended.
    pub(super) fn class_of(&self, threads: &[u32], believed: ClassId) -> Option<ClassId> {
        let count = |tasks: &BTreeSet<u32>| threads.iter().filter(|thread| tasks.contains(thread)).count();
        self.tasks
            .iter()
            .map(|(class, tasks)| (count(tasks), *class == believed, *class))
            .filter(|(count, ..)| *count > 0)
            .max()
            .map(|(.., class)| class)
    }

    /// Threads that are in another class than this one, with the class that they are in.
    pub(super) fn outside(&self, threads: &[u32], class: ClassId) -> Vec<(u32, ClassId)> {
        let others = self.tasks.iter().filter(|(other, _)| **other != class);
        others
            .flat_map(|(other, tasks)| {
                threads.iter().filter(|thread| tasks.contains(thread)).map(|thread| (*thread, *other))
            })
            .collect()
    }
}

impl<F: Files, T: Threads> CacheDriver<F, T> {
    pub(super) fn survey(&self) -> Result<Survey, Error> {
        let mut survey = Survey::default();
        let default = ClassId(0);
        survey.tasks.insert(default, self.tree.tasks(&class_group(default))?);
        for class in self.tree.groups()?.own {
            match self.tree.tasks(&class_group(class)) {
                Ok(tasks) => drop(survey.tasks.insert(class, tasks)),
                Err(error) if error.is_gone() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(survey)
    }

    /// Brings threads that began elsewhere after their VM, and counts what each VM does. To be called each
    /// second or so; reading does it as well.
    ///
    /// # Errors
    /// When the groups cannot be read.
    pub fn follow(&mut self) -> Result<Followed, Error> {
        let survey = self.survey()?;
        Ok(self.follow_in(&survey))
    }

    fn follow_in(&mut self, survey: &Survey) -> Followed {
        let mut followed = Followed::default();
        let vms: Vec<VmId> = self.members.keys().copied().collect();
        self.sweep(survey, &mut followed);
        for (position, vm) in vms.into_iter().enumerate() {
            let Some(threads) = self.threads.of(vm) else { continue };
            let Some(member) = self.members.get_mut(&vm) else { continue };
            let Some(class) = survey.class_of(&threads, member.class) else { continue };
            member.class = class;
            for (thread, _) in survey.outside(&threads, class) {
                match self.tree.put_task(&class_group(class), thread) {
                    Ok(true) => followed.moved += 1,
                    Ok(false) => {}
                    Err(error) => followed.faults.push(error),
                }
            }
            if position < self.most_watched() {
                // An id in limbo is nothing to report: the next call gets it.
                let fault = self.watch(vm, class, &threads).err();
                followed.faults.extend(fault.filter(|fault| !fault.is(rustix::io::Errno::BUSY)));
            }
        }
        followed
    }

    /// How many VMs can be counted, so that each group of control can still have its own id.
    fn most_watched(&self) -> usize {
        let info = self.tree.info();
        info.monitoring.map_or(0, |counted| counted.groups.saturating_sub(info.classes) as usize)
    }

    fn watch(&self, vm: VmId, class: ClassId, threads: &[u32]) -> Result<(), Error> {
        let group = vm_group(class, vm);
        let inside = match self.tree.tasks(&group) {
            Err(error) if error.is_gone() => {
                self.tree.make(&group)?;
                BTreeSet::new()
            }
            other => other?,
        };
        for thread in threads.iter().filter(|thread| !inside.contains(thread)) {
            self.tree.put_task(&group, *thread)?;
        }
        Ok(())
    }

    /// After a move the VM counts in its new class; the old count is given up.
    pub(super) fn watch_anew(&self, vm: VmId, before: ClassId, to: ClassId) {
        let position = self.members.range(..vm).count();
        if position >= self.most_watched() {
            return;
        }
        if before != to {
            // What is left behind, `follow` finds.
            let _ = self.tree.remove(&vm_group(before, vm));
        }
        let threads = self.threads.of(vm).unwrap_or_default();
        let _ = self.watch(vm, to, &threads);
    }

    /// Removes counting groups of VMs that have gone or moved.
    fn sweep(&self, survey: &Survey, followed: &mut Followed) {
        if self.tree.info().monitoring.is_none() {
            return;
        }
        for class in survey.tasks.keys() {
            let folder = path(&class_group(*class), "mon_groups");
            let entries = match self.tree.list(&folder) {
                Ok(entries) => entries,
                Err(error) if error.is_gone() => continue,
                Err(error) => {
                    followed.faults.push(error);
                    continue;
                }
            };
            for entry in entries.iter().filter(|entry| entry.is_folder) {
                let vm = entry.name.strip_prefix("halcyon-vm").and_then(super::super::info::parse_number);
                let Some(vm) = vm.map(VmId) else { continue };
                let stays =
                    self.members.get(&vm).is_some_and(|member| self.is_in(vm, member, *class, survey));
                if !stays {
                    followed.faults.extend(self.tree.remove(&path(&folder, &entry.name)).err());
                }
            }
        }
    }

    fn is_in(&self, vm: VmId, member: &Member, class: ClassId, survey: &Survey) -> bool {
        let threads = self.threads.of(vm).unwrap_or_default();
        survey.class_of(&threads, member.class).unwrap_or(member.class) == class
    }

    pub(super) fn survey_into(&mut self, held: &mut Assignment) -> Result<(), Error> {
        let survey = self.survey()?;
        let schemata = self.all_schemata(&survey);
        self.members = held
            .holdings
            .iter()
            .map(|it| {
                let ceiling = it.memory_bandwidth.ceiling;
                (it.vm, Member { class: it.class, socket: it.socket, ceiling })
            })
            .collect();
        for fault in self.follow_in(&survey).faults {
            tracing::warn!(error = %error_chain(&fault), "a thread or a count of a VM could not be followed");
        }
        self.put_masks(held, &survey, &schemata);
        self.put_ceilings(&schemata);
        let known = held.classes.len().max(1);
        for holding in &mut held.holdings {
            let Some(member) = self.members.get(&holding.vm) else { continue };
            if member.class.index() < known {
                holding.class = member.class;
            }
            if self.tree.info().throttle.is_some() {
                let bandwidth = &mut holding.memory_bandwidth;
                bandwidth.ceiling = member.ceiling;
                bandwidth.share = bandwidth.share.min(member.ceiling);
            }
        }
        Ok(())
    }

    /// What cannot be read is left out, and stays as it is believed.
    fn all_schemata(&self, survey: &Survey) -> BTreeMap<ClassId, Schemata> {
        let read = |class: &ClassId| match self.tree.schemata(&class_group(*class)) {
            Ok(schemata) => Some((*class, schemata)),
            Err(error) => {
                tracing::warn!(error = %error_chain(&error), "the limits of {class} could not be read");
                None
            }
        };
        survey.tasks.keys().filter_map(read).collect()
    }

    fn put_masks(&self, held: &mut Assignment, survey: &Survey, schemata: &BTreeMap<ClassId, Schemata>) {
        let Some(cache) = self.tree.info().l3 else { return };
        for (index, place) in held.classes.iter_mut().enumerate() {
            let class = ClassId::at(index);
            match schemata.get(&class) {
                Some(schemata) => {
                    let believed = place.take().unwrap_or_default();
                    let masks = self.setup.sockets.ids().map(|socket| {
                        let caches = self.setup.sockets.caches(socket).iter();
                        let values = caches.flat_map(|id| {
                            self.mask_lines().iter().filter_map(|line| schemata.get(*line, *id))
                        });
                        let any = values.reduce(|a, b| a | b).map(CacheMask);
                        any.or_else(|| believed.get(socket.index()).copied()).unwrap_or(cache.all)
                    });
                    *place = Some(masks.collect());
                }
                None if survey.tasks.contains_key(&class) => {}
                None => *place = None,
            }
        }
    }

    /// What the limits of the groups let each VM move.
    fn put_ceilings(&mut self, schemata: &BTreeMap<ClassId, Schemata>) {
        let Some(throttle) = self.tree.info().throttle else { return };
        for (class, schemata) in schemata {
            for (socket, whole) in self.setup.sockets.ids().zip(&self.setup.bandwidth) {
                let caches = self.setup.sockets.caches(socket).iter();
                let value = caches.filter_map(|id| schemata.get(Resource::Bandwidth, *id)).max();
                let base = self.base(*class);
                let mut inside: Vec<&mut Member> = self
                    .members
                    .values_mut()
                    .filter(|it| it.class == *class && it.socket == socket)
                    .collect();
                let believed: Vec<_> = inside.iter().map(|it| it.ceiling).collect();
                let Some(value) = value else { continue };
                let ceilings = throttle.ceilings(value, base, *whole, &believed);
                for (member, ceiling) in inside.iter_mut().zip(ceilings) {
                    member.ceiling = ceiling;
                }
            }
        }
    }
}
