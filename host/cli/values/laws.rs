//! What holds for whatever somebody gives for a value.

use core::fmt::Debug;

use super::*;

/// Any text is refused with a reason, or is a value within its limits that, written plainly, is read as the same.
///
/// But for addresses: to judge a name that has one takes a network.
pub(crate) fn any_value_is_read_or_explained(text: &str) {
    let written = |duration: Duration| humantime::format_duration(duration).to_string();
    if let Some(read) = explained(duration(text)) {
        assert!(read <= LONGEST);
        assert_eq!(duration(&written(read)), Ok(read));
    }
    if let Some(read) = explained(positive_duration(text)) {
        assert!(!read.is_zero());
        assert_eq!(positive_duration(&written(read)), Ok(read));
    }
    if let Some(Timeout(read)) = explained(text.parse()) {
        assert_eq!(read.map_or("none".into(), written).parse(), Ok(Timeout(read)));
    }
    if let Some(Timeout(Some(read))) = explained(heartbeat(text)) {
        assert!(read >= Duration::from_secs(2));
    }
    if let Some(Percent(Some(read))) = explained(text.parse()) {
        assert_eq!(format!("{read}%").parse(), Ok(Percent(Some(read))));
    }
    if let Some(Factor(Some(read))) = explained(text.parse()) {
        any_factor_is_read_as_it_is_written(read);
    }
    if let Some(read) = explained(percent(text)) {
        assert_eq!(percent(&format!("{read}%")), Ok(read));
    }
    for size in [process_size, memory_size] {
        if let Some(read) = explained(size(text)) {
            assert_eq!(size(&read.to_string()), Ok(read));
        }
    }
    if let Some(read) = explained(header_size(text)) {
        assert_eq!(header_size(&read.to_string()), Ok(read));
    }
    if let Some(BodySize(Some(read))) = explained(text.parse()) {
        assert_eq!(read.to_string().parse(), Ok(BodySize(Some(read))));
    }
    if let Some(read) = explained(change(text)) {
        let written = match read {
            Change::To(slots) => slots.to_string(),
            Change::By(slots) => format!("{slots:+}"),
        };
        assert_eq!(change(&written), Ok(read));
    }
    if let Some((key, value)) = explained(pair(text)) {
        assert_eq!(format!("{key}={value}"), text);
        assert_eq!(variable(text), Ok((key, value)));
    }
    if let Some(read) = explained(path(text)) {
        assert!(read.starts_with('/') && read == text);
    }
    if let Some(read) = explained(command(text)) {
        assert!(!read.is_empty() && text.contains(&read));
    }
    explained(variable(text));
    explained(directory(text));
}

/// Hundredths in which a factor is counted are none that is written with two decimals too few or too many.
pub(crate) fn any_factor_is_read_as_it_is_written(hundredths: u32) {
    let written = format!("{}.{:02}x", hundredths / 100, hundredths % 100);
    assert_eq!(written.parse(), Ok(Factor(Some(hundredths))), "{written}");
}

/// What is read. A reason completes a sentence, and is one.
#[track_caller]
fn explained<T: Debug>(read: Result<T, String>) -> Option<T> {
    let reason = match read {
        Ok(value) => return Some(value),
        Err(reason) => reason,
    };
    assert!(!reason.is_empty() && !reason.ends_with('.'), "{reason}");
    None
}
