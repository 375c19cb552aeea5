//! The divisible GPUs of a host file.

use std::collections::BTreeSet;

use super::DescribeError;
use super::element::Element;
use super::form::{GpuForm, ProfileForm};
use super::names::{Kind, Names, check_name};
use super::text::Text;
use crate::ids::{DeviceId, GpuId};
use crate::topology::{DeviceClass, Gpu, Parts, SliceProfile};

/// More kinds of instances than any GPU offers.
const MOST_PROFILES: usize = 64;

/// Reads every `[[gpu]]`, each of which divides one device of class `gpu`.
pub(super) fn gpus(
    text: &Text<'_>,
    names: &Names<'_>,
    parts: &Parts,
    forms: &[GpuForm],
) -> Result<Vec<Gpu>, DescribeError> {
    let mut divided = BTreeSet::new();
    let mut gpus = Vec::new();
    for (index, form) in forms.iter().enumerate() {
        let name: String = form.device.get_ref().chars().take(64).collect();
        let element = Element::new(text, format!("gpu `{name}`"), form.device.span());
        let device = DeviceId::at(names.find(&element, Kind::Device, &form.device)?);
        let class = parts.devices[device.index()].class;
        element.ensure(class == DeviceClass::Gpu, || format!("its device is of class {class}, not gpu"))?;
        element.ensure(divided.insert(device), || "is described twice; keep one [[gpu]] for it".into())?;
        let slices = element.count("slices", &form.slices, 1..=64)?;
        gpus.push(Gpu {
            id: GpuId::at(index),
            device,
            slices,
            memory: element.size("memory", &form.memory)?,
            profiles: profiles(&element, slices, &form.profile)?,
        });
    }
    Ok(gpus)
}

fn profiles(
    element: &Element<'_>,
    slices: u32,
    forms: &[ProfileForm],
) -> Result<Vec<SliceProfile>, DescribeError> {
    element.ensure((1..=MOST_PROFILES).contains(&forms.len()), || {
        format!("has {} profiles; write 1 to {MOST_PROFILES} [[gpu.profile]] tables", forms.len())
    })?;
    let mut seen = BTreeSet::new();
    forms
        .iter()
        .map(|form| {
            let name = form.name.get_ref();
            check_name(element, &form.name)?;
            element
                .ensure_at(&form.name, seen.insert(name), || format!("profile `{name}` is there twice"))?;
            profile(element, slices, form)
        })
        .collect()
}

fn profile(element: &Element<'_>, slices: u32, form: &ProfileForm) -> Result<SliceProfile, DescribeError> {
    let name = form.name.get_ref().clone();
    let compute = element.count(&format!("compute of `{name}`"), &form.compute, 1..=64)?;
    let span = element.count(&format!("span of `{name}`"), &form.span, 1..=slices)?;
    let starts = form.starts.get_ref();
    let distinct: BTreeSet<_> = starts.iter().collect();
    element.ensure_at(&form.starts, !starts.is_empty() && distinct.len() == starts.len(), || {
        format!("starts of `{name}` must be one or more different slices")
    })?;
    element.ensure_at(&form.starts, starts.iter().all(|start| *start <= slices - span), || {
        format!("`{name}` spans {span} of {slices} slices; it cannot start after {}", slices - span)
    })?;
    Ok(SliceProfile { name, compute, span, starts: starts.clone() })
}
