# Completion of domstat's commands and options; the program itself says what may come.
_domstat() {
    local IFS=$'\n'
    COMPREPLY=($(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD="$COMP_CWORD" _DOMSTAT_COMPLETE=complete_bash domstat 2>/dev/null))
}
complete -o default -F _domstat domstat
