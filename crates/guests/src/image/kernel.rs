//! From a bzImage to the ELF kernel inside it, which QEMU enters directly (PVH): a guest then boots without
//! unpacking itself on a CPU that is emulated.
//!
//! The place of the payload is in the setup header (Documentation/arch/x86/boot.rst of the kernel, protocol
//! 2.08: `setup_sects` at 0x1f1, `payload_offset` at 0x248, `payload_length` at 0x24c). Debian's cloud
//! kernels are packed as LZ4's legacy frame; anything else is left as it is.

const SETUP_SECTORS: usize = 0x1f1;
const MAGIC: (usize, &[u8]) = (0x202, b"HdrS");
const PAYLOAD: usize = 0x248;
const LZ4_LEGACY: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];
/// What one block of a legacy frame unpacks to at most (lz4's frame format, "Legacy frame").
const MOST_OF_A_BLOCK: usize = 8 << 20;
/// No kernel is larger; what claims to be is not one.
const MOST_OF_A_KERNEL: usize = 512 << 20;

/// The ELF kernel, if the image is packed in a way that is known here.
pub(super) fn elf(image: &[u8]) -> Option<Vec<u8>> {
    if image.get(SETUP_SECTORS..).is_none() || image.get(MAGIC.0..MAGIC.0 + 4)? != MAGIC.1 {
        return None;
    }
    // Zero means four, for the sake of very old boot loaders.
    let sectors = match image[SETUP_SECTORS] {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let begin = ((sectors + 1) * 512).checked_add(word(image, PAYLOAD)?)?;
    let end = begin.checked_add(word(image, PAYLOAD + 4)?)?;
    let payload = image.get(begin..end)?;
    // The last word is the unpacked size, which the legacy frame itself does not hold.
    let unpacked = unpack(payload.get(..payload.len().checked_sub(4)?)?)?;
    unpacked.starts_with(b"\x7fELF").then_some(unpacked)
}

fn unpack(frame: &[u8]) -> Option<Vec<u8>> {
    let mut rest = frame.strip_prefix(&LZ4_LEGACY)?;
    let (mut kernel, mut block) = (Vec::new(), vec![0; MOST_OF_A_BLOCK]);
    while !rest.is_empty() {
        let size = word(rest, 0)?;
        let packed = rest.get(4..size.checked_add(4)?)?;
        let length = lz4_flex::block::decompress_into(packed, &mut block).ok()?;
        kernel.extend_from_slice(&block[..length]);
        if kernel.len() > MOST_OF_A_KERNEL {
            return None;
        }
        rest = &rest[4 + size..];
    }
    Some(kernel)
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    usize::try_from(u32::from_le_bytes(word.try_into().ok()?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bzImage with one sector of setup whose payload is one stored block.
    fn bz_image(content: &[u8]) -> Vec<u8> {
        // One LZ4 sequence of literals only: a token, their number beyond 15, and the literals.
        let mut block = vec![0xf0, u8::try_from(content.len() - 15).unwrap()];
        block.extend_from_slice(content);
        let mut payload = LZ4_LEGACY.to_vec();
        payload.extend_from_slice(&u32::try_from(block.len()).unwrap().to_le_bytes());
        payload.extend_from_slice(&block);
        payload.extend_from_slice(&[0; 4]);
        let mut image = vec![0; 1024];
        image[SETUP_SECTORS] = 1;
        image[0x202..0x206].copy_from_slice(MAGIC.1);
        image[PAYLOAD + 4..PAYLOAD + 8].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        image.extend_from_slice(&payload);
        image
    }

    #[test]
    fn the_kernel_inside_is_found() {
        let content = b"\x7fELF and forty bytes of kernel, more or less";
        assert_eq!(elf(&bz_image(content)).as_deref(), Some(&content[..]));
    }

    #[test]
    fn what_is_no_kernel_or_cut_short_gives_none() {
        assert_eq!(elf(&bz_image(b"not an ELF file, though of a fitting length")), None);
        let whole = bz_image(b"\x7fELF and forty bytes of kernel, more or less");
        for length in 0..whole.len() {
            assert_eq!(elf(&whole[..length]), None, "cut to {length} bytes");
        }
    }
}
