# SPDX-License-Identifier: Apache-2.0
# Lines of text as C string literals.
s/[\\"]/\\&/g
s/^/"/
s/$/\\n"/
