/* SPDX-License-Identifier: Apache-2.0 */
/* placement.c: the table in placement.h. */
#include "agent/core/placement.h"

void placement_see(struct placement_seen *s, bool here, bool usable, bool published)
{
	s->usable |= usable;
	s->dead |= !usable && (here || published);
	s->missing |= !here && published;
}

bool placement_look(struct placement *p, const struct placement_seen *s, bool allocator, bool holds)
{
	bool dark = s->dead && !s->usable;

	/* Not whoever took it although it was so: it would go round and round. */
	p->letting_go = dark && holds && (p->letting_go || !p->dark);
	p->dark = dark;
	p->impaired = s->dead;
	p->placed = !s->missing && (!dark || (allocator && !p->letting_go));
	return allocator && p->letting_go;
}
