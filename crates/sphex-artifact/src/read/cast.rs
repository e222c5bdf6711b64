//! The one place that looks at bytes as words.
#![allow(unsafe_code)]

/// The bytes as little-endian words, in place; `None` if they are not aligned to 4, not a whole number of words, or
/// this machine is big-endian.
pub fn words(bytes: &[u8]) -> Option<&[u32]> {
    if cfg!(target_endian = "big") {
        return None;
    }
    // SAFETY: any four initialised bytes are a u32; `align_to` gives a middle part that is aligned and inside `bytes`.
    let (before, words, after) = unsafe { bytes.align_to::<u32>() };
    (before.is_empty() && after.is_empty()).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn only_whole_aligned_words() {
        let numbers = [0x0403_0201u32, 0x0807_0605];
        let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        let start = bytes.as_ptr().align_offset(4);
        assert_eq!(start, 0, "the allocator aligns to at least 4");
        assert_eq!(words(&bytes), Some(&numbers[..]));
        assert_eq!(words(&bytes[1..8]), None);
        assert_eq!(words(&bytes[..6]), None);
        assert_eq!(words(&[]), Some(&[][..]));
    }
}
