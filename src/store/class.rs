//! Storage classes: what a cloud charges for keeping bytes, and for reading them.
//!
//! Only classes whose objects can be read at once are taken: a drive cannot wait for hours. Which others a server has is
//! its own business; it says so when the first pack is stored.

use crate::store::Cloud;
use crate::store::Error;
use crate::store::options::bad_option;

/// The option that names a class.
const OPTION: &str = "storage_class";
const CLASS_LEN_MAX: usize = 64;

/// The class as the cloud spells it, or why it cannot be.
pub(crate) fn storage_class(cloud: Cloud, text: &str) -> Result<String, Error> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if text.is_empty() || text.len() > CLASS_LEN_MAX || !text.chars().all(is_word) {
        return Err(bad_option(OPTION, "its value is the name of a class, like STANDARD_IA, NEARLINE or Cool"));
    }
    let upper = text.to_ascii_uppercase();
    let class = match cloud {
        Cloud::S3 | Cloud::Gs => upper.clone(),
        Cloud::Az => {
            let known = ["Hot", "Cool", "Cold", "Archive"].into_iter().find(|tier| tier.eq_ignore_ascii_case(text));
            known.unwrap_or(text).to_owned()
        }
    };
    let is_frozen = match cloud {
        Cloud::S3 => (upper.contains("GLACIER") || upper.contains("ARCHIVE")) && !upper.ends_with("_IR"),
        Cloud::Az => upper == "ARCHIVE",
        // Google's ARCHIVE costs more to read, but answers at once.
        Cloud::Gs => false,
    };
    if is_frozen {
        let instead = if cloud == Cloud::S3 { "GLACIER_IR or STANDARD_IA" } else { "Cold or Cool" };
        let said = format!(
            "objects of the class {class} must be brought back by the cloud, for hours, before they can be read; \
             choose one that answers at once, like {instead}"
        );
        return Err(bad_option(OPTION, said));
    }
    Ok(class)
}

#[cfg(test)]
mod tests {
    use crate::monitor::chain;
    use crate::store::Cloud;
    use crate::store::class::storage_class;

    #[test]
    fn classes_that_answer_are_spelled_as_the_cloud_does() {
        let cases = [
            (Cloud::S3, "standard_ia", "STANDARD_IA"),
            (Cloud::S3, "GLACIER_IR", "GLACIER_IR"),
            (Cloud::S3, "INTELLIGENT_TIERING", "INTELLIGENT_TIERING"),
            (Cloud::S3, "theirs-1", "THEIRS-1"),
            (Cloud::Gs, "nearline", "NEARLINE"),
            (Cloud::Gs, "archive", "ARCHIVE"),
            (Cloud::Az, "COOL", "Cool"),
            (Cloud::Az, "cold", "Cold"),
            (Cloud::Az, "Smart", "Smart"),
        ];
        for (cloud, text, expected) in cases {
            assert_eq!(storage_class(cloud, text).ok().as_deref(), Some(expected), "{cloud:?}");
        }
    }

    #[test]
    fn classes_that_freeze_and_nonsense_are_refused() {
        let frozen = [
            (Cloud::S3, "GLACIER"),
            (Cloud::S3, "deep_archive"),
            (Cloud::S3, "Glacier_Flexible"),
            (Cloud::Az, "archive"),
        ];
        for (cloud, text) in frozen {
            let told = storage_class(cloud, text).map_err(|error| chain(&error));
            assert!(told.as_ref().is_err_and(|told| told.contains("before they can be read")), "{told:?}");
        }
        for text in ["", "a b", "a\r\nx-evil: 1", "é", &"x".repeat(65)] {
            assert!(storage_class(Cloud::S3, text).is_err(), "{text}");
        }
    }
}
