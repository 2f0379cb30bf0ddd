//! Values in another's memory, by their types.

use std::sync::Arc;

use looptop_symbols::types::{DebugTypes, Kind, Type, TypeId, Variant};
use looptop_unwind::Memory;

/// Steps of one look, after which it ends: a guard against circles.
const MAX_STEPS: u32 = 50_000;
/// Fields within fields that are looked into for a name.
const MAX_WITHIN: u32 = 12;
/// Elements of a list that are looked at.
pub(super) const MAX_ELEMENTS: u64 = 64;

/// A value: its type, and where it is.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) ty: Arc<Type>,
    pub(super) at: u64,
}

impl View {
    pub(super) fn is(&self, name: &str) -> bool {
        self.ty.name.starts_with(name)
    }
}

/// Types and memory, and how much of them is still to be looked at.
pub(super) struct Reader<'a, M: ?Sized> {
    pub(super) types: &'a mut DebugTypes,
    pub(super) memory: &'a M,
    /// What to add to an address of the file.
    pub(super) bias: u64,
    steps: u32,
    /// The steps did not suffice.
    pub(super) cut: bool,
}

impl<'a, M: Memory + ?Sized> Reader<'a, M> {
    pub(super) fn new(types: &'a mut DebugTypes, memory: &'a M, bias: u64) -> Self {
        Self {
            types,
            memory,
            bias,
            steps: MAX_STEPS,
            cut: false,
        }
    }

    /// Whether there is another step; takes it.
    pub(super) fn step(&mut self) -> bool {
        let left = self.steps > 0;
        self.steps = self.steps.saturating_sub(1);
        self.cut |= !left;
        left
    }

    pub(super) fn view(&mut self, ty: TypeId, at: u64) -> Option<View> {
        if !self.step() {
            return None;
        }
        let ty = self.types.get(ty)?;
        Some(View { ty, at })
    }

    /// The field of a struct.
    pub(super) fn field(&mut self, of: &View, name: &str) -> Option<View> {
        let member = of.ty.members.iter().find(|member| &*member.name == name)?;
        self.view(member.ty, of.at.checked_add(member.at)?)
    }

    /// The fields of a struct, or of the variant in which an enum is.
    pub(super) fn fields(&mut self, of: &View) -> Vec<(Box<str>, View)> {
        let mut fields = Vec::new();
        let mut from = of.clone();
        if of.ty.variants.is_some() {
            let Some((_, variant)) = self.variant(of) else {
                return fields;
            };
            from = variant;
        }
        for member in &from.ty.members {
            let at = from.at.checked_add(member.at);
            if let Some(view) = at.and_then(|at| self.view(member.ty, at))
                && member.at.saturating_add(view.ty.size) <= from.ty.size
            {
                fields.push((member.name.clone(), view));
            }
        }
        fields
    }

    /// The variant in which an enum is: what is known of it, and its fields.
    pub(super) fn variant(&mut self, of: &View) -> Option<(Variant, View)> {
        let variants = of.ty.variants.as_ref()?;
        let number = match variants.size {
            0 => 0,
            size => self.bytes(of.at.checked_add(variants.at)?, size)?,
        };
        let variant = variants.with(number)?.clone();
        let fields = self.view(variant.ty, of.at.checked_add(variant.at)?)?;
        Some((variant, fields))
    }

    /// A number of up to eight bytes.
    pub(super) fn bytes(&self, at: u64, size: u64) -> Option<u64> {
        let size = usize::try_from(size).ok().filter(|size| *size <= 8)?;
        let mut bytes = [0; 8];
        let read = self.memory.read(at, &mut bytes[..size]);
        (read == size).then(|| u64::from_le_bytes(bytes))
    }

    /// What a value is as a number: also of an atomic, a cell, whatever only wraps one.
    pub(super) fn number(&self, of: &View) -> Option<u64> {
        self.bytes(of.at, of.ty.size)
    }

    /// The first field of that name, on any level within, but not behind pointers.
    pub(super) fn find(&mut self, of: &View, name: &str) -> Option<View> {
        self.search(of, MAX_WITHIN, &mut |field, view| {
            (field == name).then(|| view.clone())
        })
    }

    /// The first value within, but not behind pointers, whose type's name begins so.
    pub(super) fn find_type(&mut self, of: &View, name: &str) -> Option<View> {
        if of.is(name) {
            return Some(of.clone());
        }
        self.search(of, MAX_WITHIN, &mut |_, view| {
            view.is(name).then(|| view.clone())
        })
    }

    fn search<T>(
        &mut self,
        of: &View,
        levels: u32,
        is: &mut impl FnMut(&str, &View) -> Option<T>,
    ) -> Option<T> {
        if levels == 0 || of.ty.kind != Kind::Struct {
            return None;
        }
        let fields = self.fields(of);
        for (name, view) in &fields {
            if let Some(found) = is(name, view) {
                return Some(found);
            }
        }
        let mut fields = fields.iter();
        fields.find_map(|(_, view)| self.search(view, levels - 1, is))
    }

    /// What a pointer points to: a reference, a box, or what only wraps one, such as an
    /// `Arc`, whose data it is then.
    pub(super) fn target(&mut self, of: &View) -> Option<View> {
        let is_arc = of.is("alloc::sync::Arc<") || of.is("alloc::rc::Rc<");
        let pointer = if of.ty.kind == Kind::Pointer {
            of.clone()
        } else {
            let is_pointer =
                |_: &str, view: &View| (view.ty.kind == Kind::Pointer).then(|| view.clone());
            self.search(of, MAX_WITHIN, &mut { is_pointer })?
        };
        let at = self.bytes(pointer.at, 8).filter(|at| *at != 0)?;
        let target = self.view(pointer.ty.target?, at)?;
        if is_arc || target.is("alloc::sync::ArcInner<") || target.is("alloc::rc::RcInner<") {
            let data = self.field(&target, "data");
            return data.or_else(|| self.field(&target, "value"));
        }
        Some(target)
    }

    /// Follows references and boxes until something else comes.
    pub(super) fn behind(&mut self, of: &View) -> Option<View> {
        let mut view = of.clone();
        for _ in 0..8 {
            let leads_on = view.ty.kind == Kind::Pointer
                || view.is("alloc::sync::Arc<")
                || view.is("core::pin::Pin<")
                || view.is("alloc::boxed::Box<")
                || view.is("core::ptr::non_null::NonNull<");
            if !leads_on {
                break;
            }
            view = self.target(&view)?;
        }
        Some(view)
    }

    /// What a trait object is, by its vtable.
    pub(super) fn dynamic(&mut self, of: &View) -> Option<View> {
        let vtable = self.field(of, "vtable")?;
        let pointer = self.field(of, "pointer")?;
        let vtable = self.bytes(vtable.at, 8)?;
        let at = self.bytes(pointer.at, 8)?;
        let ty = self.types.of_vtable(vtable.wrapping_sub(self.bias))?;
        self.view(ty, at)
    }

    /// The elements of a slice or a vector, and how many there are.
    pub(super) fn elements(&mut self, of: &View) -> Option<(Vec<View>, u64)> {
        let (first, length) = if let Some(pointer) = self.field(of, "data_ptr") {
            let length = self.field(of, "length")?;
            let at = self.bytes(pointer.at, 8)?;
            (
                self.view(pointer.ty.target?, at)?,
                self.bytes(length.at, 8)?,
            )
        } else if of.is("alloc::vec::Vec<") {
            let length = self.field(of, "len")?;
            let (_, element) = of.ty.parameters.iter().find(|(name, _)| &**name == "T")?;
            let pointer = self.field(of, "buf")?;
            let pointer = self.find(&pointer, "pointer")?;
            let at = self.bytes(pointer.at, 8)?;
            (self.view(*element, at)?, self.number(&length)?)
        } else {
            return None;
        };
        let size = first.ty.size;
        let shown = if size == 0 {
            0
        } else {
            length.min(MAX_ELEMENTS)
        };
        let elements = (0..shown).map_while(|number| {
            let at = first.at.checked_add(number.checked_mul(size)?)?;
            Some(View {
                ty: Arc::clone(&first.ty),
                at,
            })
        });
        Some((elements.collect(), length))
    }
}
