//! Writing the lists of a cpuset, of a group that may have groups inside.
//!
//! In version 2 a group's list is a wish, and groups inside get what is left of theirs. In version 1 each
//! list has to be within its parent's at every moment (`admin-guide/cgroup-v1/cpusets.rst`), so the group is
//! widened first, then those inside are moved, and then it is narrowed.

use std::path::{Path, PathBuf};

use super::access::{CgroupError, failed, parsed, write};
use super::files::NumberList;
use super::group::Version;

/// Groups of guests have two levels inside at most; what is deeper is left to the kernel to refuse.
const DEEPEST: u32 = 4;

/// Sets a list; where it cannot be, all lists are as before.
pub(super) fn set(version: Version, folder: &Path, file: &str, list: &NumberList) -> Result<(), CgroupError> {
    if version == Version::V2 {
        return write(&folder.join(file), &list.to_string());
    }
    let mut trail = Vec::new();
    set_v1(folder, file, list, DEEPEST, &mut trail).inspect_err(|_| {
        // Each state on the way was allowed, so the way back is. The error that is told is the first.
        trail.iter().rev().for_each(|(path, before): &(PathBuf, NumberList)| {
            drop(write(path, &before.to_string()));
        });
    })
}

fn set_v1(
    folder: &Path,
    file: &str,
    list: &NumberList,
    deeper: u32,
    trail: &mut Vec<(PathBuf, NumberList)>,
) -> Result<(), CgroupError> {
    let path = folder.join(file);
    let before: NumberList = parsed(&path)?;
    let inside = if deeper > 0 { groups_inside(folder)? } else { Vec::new() };
    if !inside.is_empty() && !before.is_within(list) {
        let both = NumberList::from_iter(before.0.iter().chain(&list.0).copied());
        put(&path, &both, before, trail)?;
        for group in inside {
            match move_inside(&group, file, list, deeper, trail) {
                Err(CgroupError::Gone { .. }) => {}
                moved => moved?,
            }
        }
        return put(&path, list, both, trail);
    }
    put(&path, list, before, trail)
}

/// A group inside keeps a list of its own, as of a pinned vCPU, where that is still possible.
fn move_inside(
    group: &Path,
    file: &str,
    list: &NumberList,
    deeper: u32,
    trail: &mut Vec<(PathBuf, NumberList)>,
) -> Result<(), CgroupError> {
    let held: NumberList = parsed(&group.join(file))?;
    if held.is_within(list) {
        return Ok(());
    }
    set_v1(group, file, list, deeper - 1, trail)
}

fn put(
    path: &Path,
    list: &NumberList,
    before: NumberList,
    trail: &mut Vec<(PathBuf, NumberList)>,
) -> Result<(), CgroupError> {
    write(path, &list.to_string())?;
    trail.push((path.into(), before));
    Ok(())
}

fn groups_inside(folder: &Path) -> Result<Vec<PathBuf>, CgroupError> {
    let entries = std::fs::read_dir(folder).map_err(|error| failed("list", &folder.join("."), error))?;
    let groups = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    Ok(groups.map(|entry| entry.path()).collect())
}
