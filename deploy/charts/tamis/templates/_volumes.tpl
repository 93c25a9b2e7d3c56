{{- define "tamis.volumes" -}}
{{- $v := .Values -}}
- name: tmp
  emptyDir: {sizeLimit: {{ $v.tmp.sizeLimit }}}
- name: shm
  emptyDir: {medium: Memory, sizeLimit: {{ $v.shm.sizeLimit }}}
- name: config
  configMap: {name: {{ include "tamis.fullname" . }}}
{{- if eq $v.model.source "pvc" }}
- name: model
  persistentVolumeClaim: {claimName: {{ include "tamis.claimName" . }}, readOnly: true}
{{- else if eq $v.model.source "hf" }}
- name: model
  {{- if or $v.model.pvc.existingClaim $v.model.pvc.size }}
  persistentVolumeClaim: {claimName: {{ include "tamis.claimName" . }}}
  {{- else }}
  emptyDir: {}
  {{- end }}
{{- else if eq $v.model.source "oci" }}
- name: model
  image: {reference: {{ $v.model.oci.reference | quote }}, pullPolicy: {{ $v.model.oci.pullPolicy }}}
{{- else if eq $v.model.source "hostPath" }}
- name: model
  hostPath: {path: {{ $v.model.hostPath | quote }}, type: Directory}
{{- end }}
{{- with $v.tls.secretName }}
- name: tls
  secret: {secretName: {{ . | quote }}, defaultMode: 0440}
{{- end }}
{{- with $v.apiKeySecret }}
{{- if .name }}
- name: api-key
  secret: {secretName: {{ .name | quote }}, defaultMode: 0440, items: [{key: {{ .key | quote }}, path: key}]}
{{- end }}
{{- end }}
{{- with $v.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "tamis.volumeMounts" -}}
{{- $v := .Values -}}
- {name: tmp, mountPath: /tmp}
- {name: shm, mountPath: /dev/shm}
- {name: config, mountPath: /etc/tamis/serve.yaml, subPath: serve.yaml, readOnly: true}
{{- if ne $v.model.source "none" }}
- {name: model, mountPath: /models, readOnly: true}
{{- end }}
{{- if $v.tls.secretName }}
- {name: tls, mountPath: /etc/tamis/tls, readOnly: true}
{{- end }}
{{- if $v.apiKeySecret.name }}
- {name: api-key, mountPath: /etc/tamis/api-key, readOnly: true}
{{- end }}
{{- with $v.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}
