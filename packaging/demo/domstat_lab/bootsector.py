"""The whole software of a tiny guest: one sector that puts the processor to sleep.

A guest without anything to boot would do as well, but the firmware then tries again and again, at full speed.
"""

SECTOR = 512  # bytes the firmware loads from the disk
SIGNATURE = b"\x55\xaa"  # last two bytes, by which the firmware knows a boot sector
SLEEP = bytes(
    (
        0xFA,  # cli
        *(0xB0, 0xFF),  # mov al, 0xff
        *(0xE6, 0x21),  # out 0x21, al: mask all interrupts of the first controller, the timer's among them
        *(0xE6, 0xA1),  # out 0xa1, al: and of the second
        *(0xB0, 0x30),  # mov al, 0x30
        *(0xE6, 0x43),  # out 0x43, al: let the timer run down once instead of 18 times a second, which costs QEMU
        *(0xE6, 0x40),  # out 0x40, al: from any count, low byte
        *(0xE6, 0x40),  # out 0x40, al: high byte
        0xF4,  # hlt
        *(0xEB, 0xFD),  # jmp to the hlt
    )
)


def boot_sector() -> bytes:
    """Return the sector, signed."""
    return SLEEP.ljust(SECTOR - len(SIGNATURE), b"\0") + SIGNATURE
