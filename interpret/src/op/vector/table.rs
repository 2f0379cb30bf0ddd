//! The names of instructions, and what each does.

use iced_x86::{Instruction, Mnemonic as M, OpKind};

use super::{
    Arithmetic, Cipher, Compare, Convert, Edge, Fused, Half, Lane, Mask, Shuffle, Test, Unary,
    VectorOp, Wide,
};
use crate::op::Shift;

pub(super) fn moves(instruction: &Instruction) -> Option<VectorOp> {
    use VectorOp as V;
    Some(match instruction.mnemonic() {
        M::Movups
        | M::Movaps
        | M::Movdqu
        | M::Movdqa
        | M::Movupd
        | M::Movapd
        | M::Lddqu
        | M::Movntdq
        | M::Movntps
        | M::Movntpd
        | M::Movntdqa
        | M::Vmovups
        | M::Vmovaps
        | M::Vmovdqu
        | M::Vmovdqa
        | M::Vlddqu
        | M::Vmovntdq
        | M::Vmovntps
        | M::Vmovntpd
        | M::Vmovntdqa
        | M::Vmovdqu32
        | M::Vmovdqa32 => V::Move(4),
        M::Vmovdqu8 => V::Move(1),
        M::Vmovdqu16 => V::Move(2),
        M::Vmovupd | M::Vmovapd | M::Vmovdqu64 | M::Vmovdqa64 => V::Move(8),
        M::Movss | M::Vmovss => V::MoveScalar(4),
        M::Movsd | M::Vmovsd => V::MoveScalar(8),
        M::Movd | M::Vmovd | M::Movq | M::Vmovq => V::MoveLow,
        M::Movlps | M::Movlpd | M::Vmovlps | M::Vmovlpd => V::MoveHalf(Half::Low),
        M::Movhps | M::Movhpd | M::Vmovhps | M::Vmovhpd => V::MoveHalf(Half::High),
        M::Movhlps | M::Vmovhlps => V::MoveHalf(Half::HighToLow),
        M::Movlhps | M::Vmovlhps => V::MoveHalf(Half::LowToHigh),
        M::Pmovmskb | M::Vpmovmskb | M::Vpmovb2m => V::Signs(1),
        M::Movmskps | M::Vmovmskps | M::Vpmovd2m => V::Signs(4),
        M::Movmskpd | M::Vmovmskpd | M::Vpmovq2m => V::Signs(8),
        M::Vpmovm2b => V::MaskToVector(1),
        M::Vpmovm2w => V::MaskToVector(2),
        M::Vpmovm2d => V::MaskToVector(4),
        M::Vpmovm2q => V::MaskToVector(8),
        M::Vpmovw2m => V::Signs(2),
        M::Vzeroupper => V::ZeroUpper,
        M::Vzeroall => V::ZeroAll,
        _ => return None,
    })
}

pub(super) fn compares(instruction: &Instruction) -> Option<VectorOp> {
    use VectorOp as V;
    let into = instruction.op0_kind() == OpKind::Register && instruction.op0_register().is_k();
    Some(match instruction.mnemonic() {
        M::Vpcmpeqb if into => V::CompareInto(Compare::Equal, 1),
        M::Vpcmpeqw if into => V::CompareInto(Compare::Equal, 2),
        M::Vpcmpeqd if into => V::CompareInto(Compare::Equal, 4),
        M::Vpcmpeqq if into => V::CompareInto(Compare::Equal, 8),
        M::Vpcmpgtb if into => V::CompareInto(Compare::Greater, 1),
        M::Vpcmpgtw if into => V::CompareInto(Compare::Greater, 2),
        M::Vpcmpgtd if into => V::CompareInto(Compare::Greater, 4),
        M::Vpcmpgtq if into => V::CompareInto(Compare::Greater, 8),
        M::Vpcmpb => V::CompareInto(Compare::Signed, 1),
        M::Vpcmpw => V::CompareInto(Compare::Signed, 2),
        M::Vpcmpd => V::CompareInto(Compare::Signed, 4),
        M::Vpcmpq => V::CompareInto(Compare::Signed, 8),
        M::Vpcmpub => V::CompareInto(Compare::Unsigned, 1),
        M::Vpcmpuw => V::CompareInto(Compare::Unsigned, 2),
        M::Vpcmpud => V::CompareInto(Compare::Unsigned, 4),
        M::Vpcmpuq => V::CompareInto(Compare::Unsigned, 8),
        M::Vptestmb => V::TestInto(Test::Any, 1),
        M::Vptestmw => V::TestInto(Test::Any, 2),
        M::Vptestmd => V::TestInto(Test::Any, 4),
        M::Vptestmq => V::TestInto(Test::Any, 8),
        M::Vptestnmb => V::TestInto(Test::None, 1),
        M::Vptestnmw => V::TestInto(Test::None, 2),
        M::Vptestnmd => V::TestInto(Test::None, 4),
        M::Vptestnmq => V::TestInto(Test::None, 8),
        M::Cmpps | M::Vcmpps => V::CompareFloats(4),
        M::Cmppd | M::Vcmppd => V::CompareFloats(8),
        M::Cmpss | M::Vcmpss => V::CompareFloatsScalar(4),
        M::Cmpsd | M::Vcmpsd => V::CompareFloatsScalar(8),
        M::Ucomiss | M::Comiss | M::Vucomiss | M::Vcomiss => V::CompareFlags(4),
        M::Ucomisd | M::Comisd | M::Vucomisd | M::Vcomisd => V::CompareFlags(8),
        M::Ptest | M::Vptest => V::TestFlags,
        _ => return None,
    })
}

#[rustfmt::skip]
pub(super) fn mask(mnemonic: M) -> Option<(Mask, u8)> {
    Some(match mnemonic {
        M::Kmovb => (Mask::Move, 1), M::Kmovw => (Mask::Move, 2),
        M::Kmovd => (Mask::Move, 4), M::Kmovq => (Mask::Move, 8),
        M::Kandb => (Mask::And, 1), M::Kandw => (Mask::And, 2),
        M::Kandd => (Mask::And, 4), M::Kandq => (Mask::And, 8),
        M::Kandnb => (Mask::AndNot, 1), M::Kandnw => (Mask::AndNot, 2),
        M::Kandnd => (Mask::AndNot, 4), M::Kandnq => (Mask::AndNot, 8),
        M::Korb => (Mask::Or, 1), M::Korw => (Mask::Or, 2),
        M::Kord => (Mask::Or, 4), M::Korq => (Mask::Or, 8),
        M::Kxorb => (Mask::Xor, 1), M::Kxorw => (Mask::Xor, 2),
        M::Kxord => (Mask::Xor, 4), M::Kxorq => (Mask::Xor, 8),
        M::Kxnorb => (Mask::XorNot, 1), M::Kxnorw => (Mask::XorNot, 2),
        M::Kxnord => (Mask::XorNot, 4), M::Kxnorq => (Mask::XorNot, 8),
        M::Knotb => (Mask::Not, 1), M::Knotw => (Mask::Not, 2),
        M::Knotd => (Mask::Not, 4), M::Knotq => (Mask::Not, 8),
        M::Kaddb => (Mask::Add, 1), M::Kaddw => (Mask::Add, 2),
        M::Kaddd => (Mask::Add, 4), M::Kaddq => (Mask::Add, 8),
        M::Kshiftlb => (Mask::ShiftLeft, 1), M::Kshiftlw => (Mask::ShiftLeft, 2),
        M::Kshiftld => (Mask::ShiftLeft, 4), M::Kshiftlq => (Mask::ShiftLeft, 8),
        M::Kshiftrb => (Mask::ShiftRight, 1), M::Kshiftrw => (Mask::ShiftRight, 2),
        M::Kshiftrd => (Mask::ShiftRight, 4), M::Kshiftrq => (Mask::ShiftRight, 8),
        M::Kunpckbw => (Mask::Unpack, 1), M::Kunpckwd => (Mask::Unpack, 2),
        M::Kunpckdq => (Mask::Unpack, 4),
        M::Kortestb => (Mask::TestOr, 1), M::Kortestw => (Mask::TestOr, 2),
        M::Kortestd => (Mask::TestOr, 4), M::Kortestq => (Mask::TestOr, 8),
        M::Ktestb => (Mask::Test, 1), M::Ktestw => (Mask::Test, 2),
        M::Ktestd => (Mask::Test, 4), M::Ktestq => (Mask::Test, 8),
        _ => return None,
    })
}

#[rustfmt::skip]
pub(super) fn lanes(mnemonic: M) -> Option<(Lane, u8)> {
    Some(match mnemonic {
        M::Paddb | M::Vpaddb => (Lane::Add, 1), M::Paddw | M::Vpaddw => (Lane::Add, 2),
        M::Paddd | M::Vpaddd => (Lane::Add, 4), M::Paddq | M::Vpaddq => (Lane::Add, 8),
        M::Psubb | M::Vpsubb => (Lane::Subtract, 1), M::Psubw | M::Vpsubw => (Lane::Subtract, 2),
        M::Psubd | M::Vpsubd => (Lane::Subtract, 4), M::Psubq | M::Vpsubq => (Lane::Subtract, 8),
        M::Paddsb | M::Vpaddsb => (Lane::AddSigned, 1),
        M::Paddsw | M::Vpaddsw => (Lane::AddSigned, 2),
        M::Paddusb | M::Vpaddusb => (Lane::AddUnsigned, 1),
        M::Paddusw | M::Vpaddusw => (Lane::AddUnsigned, 2),
        M::Psubsb | M::Vpsubsb => (Lane::SubtractSigned, 1),
        M::Psubsw | M::Vpsubsw => (Lane::SubtractSigned, 2),
        M::Psubusb | M::Vpsubusb => (Lane::SubtractUnsigned, 1),
        M::Psubusw | M::Vpsubusw => (Lane::SubtractUnsigned, 2),
        M::Pmullw | M::Vpmullw => (Lane::MultiplyLow, 2),
        M::Pmulld | M::Vpmulld => (Lane::MultiplyLow, 4),
        M::Vpmullq => (Lane::MultiplyLow, 8),
        M::Pmulhw | M::Vpmulhw => (Lane::MultiplyHigh, 2),
        M::Pmulhuw | M::Vpmulhuw => (Lane::MultiplyHighUnsigned, 2),
        M::Pmuludq | M::Vpmuludq => (Lane::MultiplyEven, 8),
        M::Pmuldq | M::Vpmuldq => (Lane::MultiplyEvenSigned, 8),
        M::Pand | M::Andps | M::Vpand | M::Vandps | M::Vpandd => (Lane::And, 4),
        M::Andpd | M::Vandpd | M::Vpandq => (Lane::And, 8),
        M::Pandn | M::Andnps | M::Vpandn | M::Vandnps | M::Vpandnd => (Lane::AndNot, 4),
        M::Andnpd | M::Vandnpd | M::Vpandnq => (Lane::AndNot, 8),
        M::Por | M::Orps | M::Vpor | M::Vorps | M::Vpord => (Lane::Or, 4),
        M::Orpd | M::Vorpd | M::Vporq => (Lane::Or, 8),
        M::Pxor | M::Xorps | M::Vpxor | M::Vxorps | M::Vpxord => (Lane::Xor, 4),
        M::Xorpd | M::Vxorpd | M::Vpxorq => (Lane::Xor, 8),
        M::Pcmpeqb | M::Vpcmpeqb => (Lane::Equal, 1), M::Pcmpeqw | M::Vpcmpeqw => (Lane::Equal, 2),
        M::Pcmpeqd | M::Vpcmpeqd => (Lane::Equal, 4), M::Pcmpeqq | M::Vpcmpeqq => (Lane::Equal, 8),
        M::Pcmpgtb | M::Vpcmpgtb => (Lane::Greater, 1),
        M::Pcmpgtw | M::Vpcmpgtw => (Lane::Greater, 2),
        M::Pcmpgtd | M::Vpcmpgtd => (Lane::Greater, 4),
        M::Pcmpgtq | M::Vpcmpgtq => (Lane::Greater, 8),
        M::Pminub | M::Vpminub => (Lane::Least, 1), M::Pminuw | M::Vpminuw => (Lane::Least, 2),
        M::Pminud | M::Vpminud => (Lane::Least, 4), M::Vpminuq => (Lane::Least, 8),
        M::Pminsb | M::Vpminsb => (Lane::LeastSigned, 1),
        M::Pminsw | M::Vpminsw => (Lane::LeastSigned, 2),
        M::Pminsd | M::Vpminsd => (Lane::LeastSigned, 4), M::Vpminsq => (Lane::LeastSigned, 8),
        M::Pmaxub | M::Vpmaxub => (Lane::Greatest, 1),
        M::Pmaxuw | M::Vpmaxuw => (Lane::Greatest, 2),
        M::Pmaxud | M::Vpmaxud => (Lane::Greatest, 4), M::Vpmaxuq => (Lane::Greatest, 8),
        M::Pmaxsb | M::Vpmaxsb => (Lane::GreatestSigned, 1),
        M::Pmaxsw | M::Vpmaxsw => (Lane::GreatestSigned, 2),
        M::Pmaxsd | M::Vpmaxsd => (Lane::GreatestSigned, 4),
        M::Vpmaxsq => (Lane::GreatestSigned, 8),
        M::Pavgb | M::Vpavgb => (Lane::Average, 1), M::Pavgw | M::Vpavgw => (Lane::Average, 2),
        M::Psignb | M::Vpsignb => (Lane::Sign, 1), M::Psignw | M::Vpsignw => (Lane::Sign, 2),
        M::Psignd | M::Vpsignd => (Lane::Sign, 4),
        M::Vpsllvw => (Lane::ShiftLeft, 2), M::Vpsllvd => (Lane::ShiftLeft, 4),
        M::Vpsllvq => (Lane::ShiftLeft, 8),
        M::Vpsrlvw => (Lane::ShiftRight, 2), M::Vpsrlvd => (Lane::ShiftRight, 4),
        M::Vpsrlvq => (Lane::ShiftRight, 8),
        M::Vpsravw => (Lane::ShiftRightSigned, 2), M::Vpsravd => (Lane::ShiftRightSigned, 4),
        M::Vpsravq => (Lane::ShiftRightSigned, 8),
        M::Vprolvd => (Lane::RotateLeft, 4), M::Vprolvq => (Lane::RotateLeft, 8),
        M::Vprorvd => (Lane::RotateRight, 4), M::Vprorvq => (Lane::RotateRight, 8),
        _ => return None,
    })
}

#[rustfmt::skip]
pub(super) fn numbers(mnemonic: M) -> Option<VectorOp> {
    use Arithmetic as A;
    use VectorOp::{Arithmetic as Packed, ArithmeticScalar as Scalar, Unary as Each, UnaryScalar};
    Some(match mnemonic {
        M::Addps | M::Vaddps => Packed(A::Add, 4), M::Addpd | M::Vaddpd => Packed(A::Add, 8),
        M::Subps | M::Vsubps => Packed(A::Subtract, 4),
        M::Subpd | M::Vsubpd => Packed(A::Subtract, 8),
        M::Mulps | M::Vmulps => Packed(A::Multiply, 4),
        M::Mulpd | M::Vmulpd => Packed(A::Multiply, 8),
        M::Divps | M::Vdivps => Packed(A::Divide, 4), M::Divpd | M::Vdivpd => Packed(A::Divide, 8),
        M::Minps | M::Vminps => Packed(A::Least, 4), M::Minpd | M::Vminpd => Packed(A::Least, 8),
        M::Maxps | M::Vmaxps => Packed(A::Greatest, 4),
        M::Maxpd | M::Vmaxpd => Packed(A::Greatest, 8),
        M::Addss | M::Vaddss => Scalar(A::Add, 4), M::Addsd | M::Vaddsd => Scalar(A::Add, 8),
        M::Subss | M::Vsubss => Scalar(A::Subtract, 4),
        M::Subsd | M::Vsubsd => Scalar(A::Subtract, 8),
        M::Mulss | M::Vmulss => Scalar(A::Multiply, 4),
        M::Mulsd | M::Vmulsd => Scalar(A::Multiply, 8),
        M::Divss | M::Vdivss => Scalar(A::Divide, 4), M::Divsd | M::Vdivsd => Scalar(A::Divide, 8),
        M::Minss | M::Vminss => Scalar(A::Least, 4), M::Minsd | M::Vminsd => Scalar(A::Least, 8),
        M::Maxss | M::Vmaxss => Scalar(A::Greatest, 4),
        M::Maxsd | M::Vmaxsd => Scalar(A::Greatest, 8),
        M::Sqrtps | M::Vsqrtps => Each(Unary::Root, 4),
        M::Sqrtpd | M::Vsqrtpd => Each(Unary::Root, 8),
        M::Sqrtss | M::Vsqrtss => UnaryScalar(Unary::Root, 4),
        M::Sqrtsd | M::Vsqrtsd => UnaryScalar(Unary::Root, 8),
        M::Roundps | M::Vroundps => Each(Unary::Round, 4),
        M::Roundpd | M::Vroundpd => Each(Unary::Round, 8),
        M::Roundss | M::Vroundss => UnaryScalar(Unary::Round, 4),
        M::Roundsd | M::Vroundsd => UnaryScalar(Unary::Round, 8),
        M::Pabsb | M::Vpabsb => Each(Unary::Absolute, 1),
        M::Pabsw | M::Vpabsw => Each(Unary::Absolute, 2),
        M::Pabsd | M::Vpabsd => Each(Unary::Absolute, 4), M::Vpabsq => Each(Unary::Absolute, 8),
        M::Vpopcntb => Each(Unary::CountBits, 1), M::Vpopcntw => Each(Unary::CountBits, 2),
        M::Vpopcntd => Each(Unary::CountBits, 4), M::Vpopcntq => Each(Unary::CountBits, 8),
        M::Vplzcntd => Each(Unary::LeadingZeros, 4), M::Vplzcntq => Each(Unary::LeadingZeros, 8),
        _ => return None,
    })
}

/// A product and a sum: what is multiplied, whether the product is negated, whether the
/// addend is at even and odd places, whether there is one element only, and its size.
#[rustfmt::skip]
pub(super) fn fused(mnemonic: M) -> Option<VectorOp> {
    const FIRST_THIRD: ([u8; 2], u8) = ([0, 2], 1);
    const SECOND_FIRST: ([u8; 2], u8) = ([1, 0], 2);
    const SECOND_THIRD: ([u8; 2], u8) = ([1, 2], 0);
    let ((product, addend), negates_product, subtracts, is_scalar, size) = match mnemonic {
        M::Vfmadd132ps => (FIRST_THIRD, false, [false, false], false, 4),
        M::Vfmadd132pd => (FIRST_THIRD, false, [false, false], false, 8),
        M::Vfmadd132ss => (FIRST_THIRD, false, [false, false], true, 4),
        M::Vfmadd132sd => (FIRST_THIRD, false, [false, false], true, 8),
        M::Vfmadd213ps => (SECOND_FIRST, false, [false, false], false, 4),
        M::Vfmadd213pd => (SECOND_FIRST, false, [false, false], false, 8),
        M::Vfmadd213ss => (SECOND_FIRST, false, [false, false], true, 4),
        M::Vfmadd213sd => (SECOND_FIRST, false, [false, false], true, 8),
        M::Vfmadd231ps => (SECOND_THIRD, false, [false, false], false, 4),
        M::Vfmadd231pd => (SECOND_THIRD, false, [false, false], false, 8),
        M::Vfmadd231ss => (SECOND_THIRD, false, [false, false], true, 4),
        M::Vfmadd231sd => (SECOND_THIRD, false, [false, false], true, 8),
        M::Vfmsub132ps => (FIRST_THIRD, false, [true, true], false, 4),
        M::Vfmsub132pd => (FIRST_THIRD, false, [true, true], false, 8),
        M::Vfmsub132ss => (FIRST_THIRD, false, [true, true], true, 4),
        M::Vfmsub132sd => (FIRST_THIRD, false, [true, true], true, 8),
        M::Vfmsub213ps => (SECOND_FIRST, false, [true, true], false, 4),
        M::Vfmsub213pd => (SECOND_FIRST, false, [true, true], false, 8),
        M::Vfmsub213ss => (SECOND_FIRST, false, [true, true], true, 4),
        M::Vfmsub213sd => (SECOND_FIRST, false, [true, true], true, 8),
        M::Vfmsub231ps => (SECOND_THIRD, false, [true, true], false, 4),
        M::Vfmsub231pd => (SECOND_THIRD, false, [true, true], false, 8),
        M::Vfmsub231ss => (SECOND_THIRD, false, [true, true], true, 4),
        M::Vfmsub231sd => (SECOND_THIRD, false, [true, true], true, 8),
        M::Vfnmadd132ps => (FIRST_THIRD, true, [false, false], false, 4),
        M::Vfnmadd132pd => (FIRST_THIRD, true, [false, false], false, 8),
        M::Vfnmadd132ss => (FIRST_THIRD, true, [false, false], true, 4),
        M::Vfnmadd132sd => (FIRST_THIRD, true, [false, false], true, 8),
        M::Vfnmadd213ps => (SECOND_FIRST, true, [false, false], false, 4),
        M::Vfnmadd213pd => (SECOND_FIRST, true, [false, false], false, 8),
        M::Vfnmadd213ss => (SECOND_FIRST, true, [false, false], true, 4),
        M::Vfnmadd213sd => (SECOND_FIRST, true, [false, false], true, 8),
        M::Vfnmadd231ps => (SECOND_THIRD, true, [false, false], false, 4),
        M::Vfnmadd231pd => (SECOND_THIRD, true, [false, false], false, 8),
        M::Vfnmadd231ss => (SECOND_THIRD, true, [false, false], true, 4),
        M::Vfnmadd231sd => (SECOND_THIRD, true, [false, false], true, 8),
        M::Vfnmsub132ps => (FIRST_THIRD, true, [true, true], false, 4),
        M::Vfnmsub132pd => (FIRST_THIRD, true, [true, true], false, 8),
        M::Vfnmsub132ss => (FIRST_THIRD, true, [true, true], true, 4),
        M::Vfnmsub132sd => (FIRST_THIRD, true, [true, true], true, 8),
        M::Vfnmsub213ps => (SECOND_FIRST, true, [true, true], false, 4),
        M::Vfnmsub213pd => (SECOND_FIRST, true, [true, true], false, 8),
        M::Vfnmsub213ss => (SECOND_FIRST, true, [true, true], true, 4),
        M::Vfnmsub213sd => (SECOND_FIRST, true, [true, true], true, 8),
        M::Vfnmsub231ps => (SECOND_THIRD, true, [true, true], false, 4),
        M::Vfnmsub231pd => (SECOND_THIRD, true, [true, true], false, 8),
        M::Vfnmsub231ss => (SECOND_THIRD, true, [true, true], true, 4),
        M::Vfnmsub231sd => (SECOND_THIRD, true, [true, true], true, 8),
        M::Vfmaddsub132ps => (FIRST_THIRD, false, [true, false], false, 4),
        M::Vfmaddsub132pd => (FIRST_THIRD, false, [true, false], false, 8),
        M::Vfmaddsub213ps => (SECOND_FIRST, false, [true, false], false, 4),
        M::Vfmaddsub213pd => (SECOND_FIRST, false, [true, false], false, 8),
        M::Vfmaddsub231ps => (SECOND_THIRD, false, [true, false], false, 4),
        M::Vfmaddsub231pd => (SECOND_THIRD, false, [true, false], false, 8),
        M::Vfmsubadd132ps => (FIRST_THIRD, false, [false, true], false, 4),
        M::Vfmsubadd132pd => (FIRST_THIRD, false, [false, true], false, 8),
        M::Vfmsubadd213ps => (SECOND_FIRST, false, [false, true], false, 4),
        M::Vfmsubadd213pd => (SECOND_FIRST, false, [false, true], false, 8),
        M::Vfmsubadd231ps => (SECOND_THIRD, false, [false, true], false, 4),
        M::Vfmsubadd231pd => (SECOND_THIRD, false, [false, true], false, 8),
        _ => return None,
    };
    let fused = Fused { product, addend, negates_product, subtracts };
    Some(if is_scalar { VectorOp::FusedScalar(fused, size) } else { VectorOp::Fused(fused, size) })
}

#[rustfmt::skip]
pub(super) fn shifts(mnemonic: M) -> Option<VectorOp> {
    use VectorOp as V;
    Some(match mnemonic {
        M::Psllw | M::Vpsllw => V::Shift(Shift::Left, 2),
        M::Pslld | M::Vpslld => V::Shift(Shift::Left, 4),
        M::Psllq | M::Vpsllq => V::Shift(Shift::Left, 8),
        M::Psrlw | M::Vpsrlw => V::Shift(Shift::Right, 2),
        M::Psrld | M::Vpsrld => V::Shift(Shift::Right, 4),
        M::Psrlq | M::Vpsrlq => V::Shift(Shift::Right, 8),
        M::Psraw | M::Vpsraw => V::Shift(Shift::RightSigned, 2),
        M::Psrad | M::Vpsrad => V::Shift(Shift::RightSigned, 4),
        M::Vpsraq => V::Shift(Shift::RightSigned, 8),
        M::Vprold => V::Shift(Shift::RotateLeft, 4),
        M::Vprolq => V::Shift(Shift::RotateLeft, 8),
        M::Vprord => V::Shift(Shift::RotateRight, 4),
        M::Vprorq => V::Shift(Shift::RotateRight, 8),
        M::Pslldq | M::Vpslldq => V::ShiftBytes { left: true },
        M::Psrldq | M::Vpsrldq => V::ShiftBytes { left: false },
        _ => return None,
    })
}

/// Is the last operand a number?
fn by_number(instruction: &Instruction) -> bool {
    let last = instruction.op_count().checked_sub(1);
    last.is_some_and(|last| instruction.op_kind(last) == OpKind::Immediate8)
}

#[rustfmt::skip]
pub(super) fn shuffles(instruction: &Instruction) -> Option<VectorOp> {
    use VectorOp as V;
    let shuffle = |shuffle| V::Shuffle(shuffle);
    Some(match instruction.mnemonic() {
        M::Pshufd | M::Vpshufd => shuffle(Shuffle::Words),
        M::Pshuflw | M::Vpshuflw => shuffle(Shuffle::LowHalves),
        M::Pshufhw | M::Vpshufhw => shuffle(Shuffle::HighHalves),
        M::Pshufb | M::Vpshufb => shuffle(Shuffle::Bytes),
        M::Shufps | M::Vshufps => shuffle(Shuffle::TwoSingles),
        M::Shufpd | M::Vshufpd => shuffle(Shuffle::TwoDoubles),
        M::Vperm2i128 | M::Vperm2f128 => shuffle(Shuffle::TwoParts),
        M::Vshufi32x4 | M::Vshuff32x4 => shuffle(Shuffle::Parts(4)),
        M::Vshufi64x2 | M::Vshuff64x2 => shuffle(Shuffle::Parts(8)),
        M::Vpermq | M::Vpermpd if by_number(instruction) => shuffle(Shuffle::Quads),
        M::Vpermb => shuffle(Shuffle::All(1)), M::Vpermw => shuffle(Shuffle::All(2)),
        M::Vpermd | M::Vpermps => shuffle(Shuffle::All(4)),
        M::Vpermq | M::Vpermpd => shuffle(Shuffle::All(8)),
        M::Vpermi2b => shuffle(Shuffle::TwoByDestination(1)),
        M::Vpermi2w => shuffle(Shuffle::TwoByDestination(2)),
        M::Vpermi2d | M::Vpermi2ps => shuffle(Shuffle::TwoByDestination(4)),
        M::Vpermi2q | M::Vpermi2pd => shuffle(Shuffle::TwoByDestination(8)),
        M::Vpermt2b => shuffle(Shuffle::TwoByOperand(1)),
        M::Vpermt2w => shuffle(Shuffle::TwoByOperand(2)),
        M::Vpermt2d | M::Vpermt2ps => shuffle(Shuffle::TwoByOperand(4)),
        M::Vpermt2q | M::Vpermt2pd => shuffle(Shuffle::TwoByOperand(8)),
        M::Vpermilps => shuffle(Shuffle::Singles), M::Vpermilpd => shuffle(Shuffle::Doubles),
        M::Movddup | M::Vmovddup => shuffle(Shuffle::DuplicateEven(8)),
        M::Movsldup | M::Vmovsldup => shuffle(Shuffle::DuplicateEven(4)),
        M::Movshdup | M::Vmovshdup => shuffle(Shuffle::DuplicateOdd),
        M::Palignr | M::Vpalignr => V::AlignBytes,
        M::Valignd => V::AlignElements(4), M::Valignq => V::AlignElements(8),
        M::Pblendw | M::Vpblendw => V::Blend(2),
        M::Blendps | M::Vblendps | M::Vpblendd => V::Blend(4),
        M::Blendpd | M::Vblendpd => V::Blend(8),
        M::Pblendvb | M::Vpblendvb => V::BlendBySigns(1),
        M::Blendvps | M::Vblendvps => V::BlendBySigns(4),
        M::Blendvpd | M::Vblendvpd => V::BlendBySigns(8),
        M::Vpblendmb => V::BlendByMask(1), M::Vpblendmw => V::BlendByMask(2),
        M::Vpblendmd | M::Vblendmps => V::BlendByMask(4),
        M::Vpblendmq | M::Vblendmpd => V::BlendByMask(8),
        M::Vpternlogd => V::Ternary(4), M::Vpternlogq => V::Ternary(8),
        M::Punpcklbw | M::Vpunpcklbw => V::Unpack { size: 1, high: false },
        M::Punpcklwd | M::Vpunpcklwd => V::Unpack { size: 2, high: false },
        M::Punpckldq | M::Vpunpckldq | M::Unpcklps | M::Vunpcklps => {
            V::Unpack { size: 4, high: false }
        }
        M::Punpcklqdq | M::Vpunpcklqdq | M::Unpcklpd | M::Vunpcklpd => {
            V::Unpack { size: 8, high: false }
        }
        M::Punpckhbw | M::Vpunpckhbw => V::Unpack { size: 1, high: true },
        M::Punpckhwd | M::Vpunpckhwd => V::Unpack { size: 2, high: true },
        M::Punpckhdq | M::Vpunpckhdq | M::Unpckhps | M::Vunpckhps => {
            V::Unpack { size: 4, high: true }
        }
        M::Punpckhqdq | M::Vpunpckhqdq | M::Unpckhpd | M::Vunpckhpd => {
            V::Unpack { size: 8, high: true }
        }
        _ => return None,
    })
}

#[rustfmt::skip]
pub(super) fn parts(instruction: &Instruction) -> Option<VectorOp> {
    use VectorOp as V;
    Some(match instruction.mnemonic() {
        M::Vpbroadcastb => V::Broadcast(1, 1), M::Vpbroadcastw => V::Broadcast(2, 2),
        M::Vpbroadcastd | M::Vbroadcastss => V::Broadcast(4, 4),
        M::Vpbroadcastq | M::Vbroadcastsd => V::Broadcast(8, 8),
        M::Vbroadcasti32x2 | M::Vbroadcastf32x2 => V::Broadcast(8, 4),
        M::Vbroadcasti128 | M::Vbroadcastf128 | M::Vbroadcasti32x4 | M::Vbroadcastf32x4 => {
            V::Broadcast(16, 4)
        }
        M::Vbroadcasti64x2 | M::Vbroadcastf64x2 => V::Broadcast(16, 8),
        M::Vbroadcasti32x8 | M::Vbroadcastf32x8 => V::Broadcast(32, 4),
        M::Vbroadcasti64x4 | M::Vbroadcastf64x4 => V::Broadcast(32, 8),
        M::Vinserti128 | M::Vinsertf128 | M::Vinserti32x4 | M::Vinsertf32x4 => {
            V::InsertPart(16, 4)
        }
        M::Vinserti64x2 | M::Vinsertf64x2 => V::InsertPart(16, 8),
        M::Vinserti32x8 | M::Vinsertf32x8 => V::InsertPart(32, 4),
        M::Vinserti64x4 | M::Vinsertf64x4 => V::InsertPart(32, 8),
        M::Vextracti128 | M::Vextractf128 | M::Vextracti32x4 | M::Vextractf32x4 => {
            V::ExtractPart(16, 4)
        }
        M::Vextracti64x2 | M::Vextractf64x2 => V::ExtractPart(16, 8),
        M::Vextracti32x8 | M::Vextractf32x8 => V::ExtractPart(32, 4),
        M::Vextracti64x4 | M::Vextractf64x4 => V::ExtractPart(32, 8),
        M::Pinsrb | M::Vpinsrb => V::InsertElement(1), M::Pinsrw | M::Vpinsrw => V::InsertElement(2),
        M::Pinsrd | M::Vpinsrd => V::InsertElement(4), M::Pinsrq | M::Vpinsrq => V::InsertElement(8),
        M::Pextrb | M::Vpextrb => V::ExtractElement(1),
        M::Pextrw | M::Vpextrw => V::ExtractElement(2),
        M::Pextrd | M::Vpextrd | M::Extractps | M::Vextractps => V::ExtractElement(4),
        M::Pextrq | M::Vpextrq => V::ExtractElement(8),
        _ => return None,
    })
}

#[rustfmt::skip]
pub(super) fn sizes(mnemonic: M) -> Option<VectorOp> {
    use VectorOp as V;
    let extend = |from, to, signed| V::Extend { from, to, signed };
    let narrow = |from, to, edge| V::Narrow { from, to, edge };
    Some(match mnemonic {
        M::Pmovzxbw | M::Vpmovzxbw => extend(1, 2, false),
        M::Pmovzxbd | M::Vpmovzxbd => extend(1, 4, false),
        M::Pmovzxbq | M::Vpmovzxbq => extend(1, 8, false),
        M::Pmovzxwd | M::Vpmovzxwd => extend(2, 4, false),
        M::Pmovzxwq | M::Vpmovzxwq => extend(2, 8, false),
        M::Pmovzxdq | M::Vpmovzxdq => extend(4, 8, false),
        M::Pmovsxbw | M::Vpmovsxbw => extend(1, 2, true),
        M::Pmovsxbd | M::Vpmovsxbd => extend(1, 4, true),
        M::Pmovsxbq | M::Vpmovsxbq => extend(1, 8, true),
        M::Pmovsxwd | M::Vpmovsxwd => extend(2, 4, true),
        M::Pmovsxwq | M::Vpmovsxwq => extend(2, 8, true),
        M::Pmovsxdq | M::Vpmovsxdq => extend(4, 8, true),
        M::Vpmovwb => narrow(2, 1, Edge::Cut), M::Vpmovdb => narrow(4, 1, Edge::Cut),
        M::Vpmovdw => narrow(4, 2, Edge::Cut), M::Vpmovqb => narrow(8, 1, Edge::Cut),
        M::Vpmovqw => narrow(8, 2, Edge::Cut), M::Vpmovqd => narrow(8, 4, Edge::Cut),
        M::Vpmovswb => narrow(2, 1, Edge::Signed), M::Vpmovsdb => narrow(4, 1, Edge::Signed),
        M::Vpmovsdw => narrow(4, 2, Edge::Signed), M::Vpmovsqb => narrow(8, 1, Edge::Signed),
        M::Vpmovsqw => narrow(8, 2, Edge::Signed), M::Vpmovsqd => narrow(8, 4, Edge::Signed),
        M::Vpmovuswb => narrow(2, 1, Edge::Unsigned), M::Vpmovusdb => narrow(4, 1, Edge::Unsigned),
        M::Vpmovusdw => narrow(4, 2, Edge::Unsigned), M::Vpmovusqb => narrow(8, 1, Edge::Unsigned),
        M::Vpmovusqw => narrow(8, 2, Edge::Unsigned), M::Vpmovusqd => narrow(8, 4, Edge::Unsigned),
        M::Packsswb | M::Vpacksswb => V::Pack { from: 2, signed: true },
        M::Packssdw | M::Vpackssdw => V::Pack { from: 4, signed: true },
        M::Packuswb | M::Vpackuswb => V::Pack { from: 2, signed: false },
        M::Packusdw | M::Vpackusdw => V::Pack { from: 4, signed: false },
        M::Pmaddwd | M::Vpmaddwd => V::Wide(Wide::MultiplyAdd),
        M::Pmaddubsw | M::Vpmaddubsw => V::Wide(Wide::MultiplyAddBytes),
        M::Psadbw | M::Vpsadbw => V::Wide(Wide::Differences),
        M::Phaddw | M::Vphaddw => V::Wide(Wide::AddNeighbours(2)),
        M::Phaddd | M::Vphaddd => V::Wide(Wide::AddNeighbours(4)),
        M::Pclmulqdq | M::Vpclmulqdq => V::MultiplyCarryless,
        M::Pcmpistri | M::Vpcmpistri => V::Text { explicit: false, index: true },
        M::Pcmpistrm | M::Vpcmpistrm => V::Text { explicit: false, index: false },
        M::Pcmpestri | M::Vpcmpestri | M::Pcmpestri64 | M::Vpcmpestri64 => {
            V::Text { explicit: true, index: true }
        }
        M::Pcmpestrm | M::Vpcmpestrm | M::Pcmpestrm64 | M::Vpcmpestrm64 => {
            V::Text { explicit: true, index: false }
        }
        M::Aesenc | M::Vaesenc => V::Cipher(Cipher::Encrypt { last: false }),
        M::Aesenclast | M::Vaesenclast => V::Cipher(Cipher::Encrypt { last: true }),
        M::Aesdec | M::Vaesdec => V::Cipher(Cipher::Decrypt { last: false }),
        M::Aesdeclast | M::Vaesdeclast => V::Cipher(Cipher::Decrypt { last: true }),
        M::Aesimc | M::Vaesimc => V::Cipher(Cipher::MixInverse),
        M::Aeskeygenassist | M::Vaeskeygenassist => V::Cipher(Cipher::AssistKey),
        M::Sha256rnds2 => V::Cipher(Cipher::HashRounds),
        M::Sha256msg1 => V::Cipher(Cipher::HashFirst),
        M::Sha256msg2 => V::Cipher(Cipher::HashSecond),
        _ => return None,
    })
}

#[rustfmt::skip]
pub(super) fn converts(mnemonic: M) -> Option<VectorOp> {
    use Convert as C;
    Some(VectorOp::Convert(match mnemonic {
        M::Cvtsi2ss | M::Vcvtsi2ss => C::FromWhole { to: 4, signed: true },
        M::Cvtsi2sd | M::Vcvtsi2sd => C::FromWhole { to: 8, signed: true },
        M::Vcvtusi2ss => C::FromWhole { to: 4, signed: false },
        M::Vcvtusi2sd => C::FromWhole { to: 8, signed: false },
        M::Cvttss2si | M::Vcvttss2si => C::ToWhole { from: 4, cut: true },
        M::Cvttsd2si | M::Vcvttsd2si => C::ToWhole { from: 8, cut: true },
        M::Cvtss2si | M::Vcvtss2si => C::ToWhole { from: 4, cut: false },
        M::Cvtsd2si | M::Vcvtsd2si => C::ToWhole { from: 8, cut: false },
        M::Cvtss2sd | M::Vcvtss2sd => C::Scalar { from: 4 },
        M::Cvtsd2ss | M::Vcvtsd2ss => C::Scalar { from: 8 },
        M::Cvtdq2ps | M::Vcvtdq2ps => C::WholeToSingles,
        M::Cvtdq2pd | M::Vcvtdq2pd => C::WholeToDoubles,
        M::Cvtps2dq | M::Vcvtps2dq => C::SinglesToWhole { cut: false },
        M::Cvttps2dq | M::Vcvttps2dq => C::SinglesToWhole { cut: true },
        M::Cvtps2pd | M::Vcvtps2pd => C::SinglesToDoubles,
        M::Cvtpd2ps | M::Vcvtpd2ps => C::DoublesToSingles,
        M::Cvtpd2dq | M::Vcvtpd2dq => C::DoublesToWhole { cut: false },
        M::Cvttpd2dq | M::Vcvttpd2dq => C::DoublesToWhole { cut: true },
        _ => return None,
    }))
}
